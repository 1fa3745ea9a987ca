"""Building blocks for a service's validation module: checks that collect violations and raise them together.

Field paths follow the contract's names, such as `sampling.temperature` and `messages[2].role`. A check that passes
allocates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sized

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN = 64
# Joiners shape letters in Indic scripts, Persian and Arabic, and join emoji; they stand after a character that is seen.
_JOINERS = re.compile(r"(?<=[^\s\u200c\u200d])[\u200c\u200d]")
# The flags of England, Scotland and Wales are spelt in tags, which are invisible anywhere else.
_FLAGS = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")


class Checks:
    """The violations of one request, collected check by check.

    ```
    checks = Checks()
    checks.in_range("sampling.temperature", request.sampling.temperature, 0, 2)
    checks.done()
    ```
    """

    __slots__ = ("_violations",)

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def violate(self, field: str, description: str) -> None:
        """Add a violation."""
        self._violations.append(FieldViolation(field, description))

    def require(self, holds: bool, field: str, description: str) -> bool:
        """Add a violation unless the condition holds; return the condition."""
        if not holds:
            self.violate(field, description)
        return holds

    def in_range(self, field: str, value: float, low: float, high: float, *, above_low: bool = False) -> bool:
        """Require the value to be in [low, high], or in (low, high] with `above_low`. NaN never is."""
        if (low < value if above_low else low <= value) and value <= high:
            return True
        bounds = f"above {low:g} and at most {high:g}" if above_low else f"from {low:g} to {high:g}"
        self.violate(field, f"{value:g} must be {bounds}")
        return False

    def size(self, field: str, value: Sized, least: int, most: int, *, of: str = "entries") -> bool:
        """Require between `least` and `most` entries (or characters, or bytes, as `of` says)."""
        if least <= len(value) <= most:
            return True
        self.violate(field, f"has {len(value)} {of}; must have {least} to {most}")
        return False

    def matches(self, field: str, value: str, pattern: re.Pattern[str], description: str) -> bool:
        """Require the whole value to match the pattern; `description` explains it, such as "1-64 of [a-z]"."""
        if pattern.fullmatch(value):
            return True
        self.violate(field, f"{shorten(value)} must be {description}")
        return False

    def request_id(self, field: str, value: str) -> bool:
        """Require the value to be empty or 1-64 characters of [A-Za-z0-9_-]."""
        return not value or self.matches(field, value, REQUEST_ID, "1-64 characters of [A-Za-z0-9_-]")

    def done(self) -> None:
        """Raise all violations as one INVALID_REQUEST error, if there are any."""
        if self._violations:
            first = self._violations[0]
            more = f" (and {len(self._violations) - 1} more)" if len(self._violations) > 1 else ""
            raise ServiceError(
                Reason.INVALID_REQUEST, f"{first.field}: {first.description}{more}", violations=self._violations
            )


def invalid(field: str, description: str) -> ServiceError:
    """Return the INVALID_REQUEST error of one field, for a check on its own."""
    return ServiceError(
        Reason.INVALID_REQUEST, f"{field}: {description}", violations=[FieldViolation(field, description)]
    )


def shorten(value: str) -> str:
    """Return a value as errors show it: quoted, escaped, and cut to 64 characters."""
    return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")


def is_printable(text: str) -> bool:
    """Return whether a text shows what it is: no control characters, direction marks, or other invisible ones.

    Zero-width joiners and non-joiners (U+200D, U+200C) are letters' own where they follow one.
    """
    return text.isprintable() or _FLAGS.sub("", _JOINERS.sub("", text)).isprintable()
