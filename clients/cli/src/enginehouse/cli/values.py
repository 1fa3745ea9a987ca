"""Values of flags and arguments: numbers within a range, and words of a list.

Every number that a command takes is declared here, so that each is refused the same way before anything is called: with
the flag, the value, and the range.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import typer

from enginehouse.kit.nearest import did_you_mean

MAX_INT32 = 2**31 - 1
MAX_NANOS = 2**63 - 1
"""The largest amount of money, in nano-dollars."""
MAX_PRICE_NANOS = MAX_NANOS // 10**6
"""The highest price of a million of a unit: a million million of them must still be priceable."""
MAX_TIMEOUT_S = 7 * 24 * 3600

_WHOLE = re.compile(r"[+-]?[0-9]+")
_SHOWN = 40


class Number:
    """Parser of a number within a range.

    Args:
        least: the smallest number.
        most: the largest number.
        whole: only whole numbers are taken.
    """

    __name__ = "number"

    def __init__(self, *, least: float, most: float, whole: bool) -> None:
        self.least = least
        self.most = most
        self.whole = whole

    @property
    def range(self) -> str:
        """The range, as help and errors show it."""
        return f"from {_shown(self.least)} to {_shown(self.most)}"

    def __call__(self, given: Any) -> Any:
        """Return the number that a text or a default stands for.

        Raises:
            typer.BadParameter: it is not a number, or out of range.
        """
        number = self._read(given)
        if number is None or not self.least <= number <= self.most:
            kind = "a whole number" if self.whole else "a number"
            raise typer.BadParameter(f"{shorten(given)} must be {kind} {self.range}")
        return number

    def _read(self, given: Any) -> int | float | None:
        text = str(given).strip()
        if self.whole:
            # Python refuses to read more than some thousand digits.
            return int(text) if _WHOLE.fullmatch(text) and len(text) <= _SHOWN else None
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None


def whole_option(*flags: str, least: int, most: int, help: str, **settings: Any) -> Any:
    """Return an option that takes a whole number from `least` to `most`."""
    return _option(flags, Number(least=least, most=most, whole=True), help, settings)


def decimal_option(*flags: str, least: float, most: float, help: str, **settings: Any) -> Any:
    """Return an option that takes a number from `least` to `most`."""
    return _option(flags, Number(least=least, most=most, whole=False), help, settings)


def whole_argument(*, least: int, most: int, help: str) -> Any:
    """Return an argument that takes a whole number from `least` to `most`."""
    parser = Number(least=least, most=most, whole=True)
    return typer.Argument(parser=parser, help=f"{help}  [{parser.range}]")


def check_word(given: str, known: Iterable[str], *, flag: str, what: str) -> None:
    """Raise ValueError for a word that is not on a list, with the flag that it was given for."""
    choices = [word for word in known if word]
    if given and given not in choices:
        near = did_you_mean(given, choices)
        raise ValueError(f"{flag}: unknown {what} {shorten(given)}: expected one of {', '.join(choices)}{near}")


def shorten(given: Any) -> str:
    """Return a value as errors show it: quoted, and cut where it is very long."""
    text = str(given)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _option(flags: tuple[str, ...], parser: Number, help: str, settings: dict[str, Any]) -> Any:
    parse: Callable[[Any], Any] = parser
    return typer.Option(*flags, parser=parse, metavar="<number>", help=f"{help}  [{parser.range}]", **settings)


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
