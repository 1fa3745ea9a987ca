"""Numbers between bounds, as automata that read their digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from enginehouse.engines.inference.grammar._automata import Automaton, explore
from enginehouse.engines.inference.grammar._expressions import Ranges

# Readers that keep numbers as doubles know 15 digits exactly.
_DIGITS = 15
_MAX_DIGITS = 40
_MAX_MULTIPLE = 20_000
# A bound that is further than this is none: no number that is written here reaches it.
_FAR = Fraction(10) ** (_MAX_DIGITS - 2)


class NumberError(ValueError):
    """Bounds that cannot be enforced; the message has the reason."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison with a constant."""

    value: Fraction
    sides: frozenset[int]
    """On which sides of it numbers may be: -1 below, 0 at it, 1 above."""


BELOW, AT_MOST = frozenset({-1}), frozenset({-1, 0})
ABOVE, AT_LEAST = frozenset({1}), frozenset({0, 1})
OTHER = frozenset({-1, 1})


@dataclass(frozen=True, slots=True)
class Multiple:
    """A step of which numbers are multiples, or are not."""

    step: Fraction
    wanted: bool


def exact(number: float) -> Fraction:
    """Return the number as it is written, rather than the double nearest to it."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def admits(value: Fraction, bounds: Sequence[Bound], multiples: Sequence[Multiple]) -> bool:
    """Return whether a number satisfies all of them."""
    return all((value > bound.value) - (value < bound.value) in bound.sides for bound in bounds) and all(
        ((value / multiple.step).denominator == 1) == multiple.wanted for multiple in multiples
    )


def is_empty(bounds: Sequence[Bound], *, whole: bool) -> bool:
    """Return whether no number satisfies the bounds, as far as lower and upper ones tell."""
    lows = [bound for bound in bounds if bound.sides <= AT_LEAST]
    highs = [bound for bound in bounds if bound.sides <= AT_MOST]
    for low in lows:
        for high in highs:
            if low.value > high.value or (low.value == high.value and not (0 in low.sides and 0 in high.sides)):
                return True
            if whole and _first_whole(low) > _last_whole(high):
                return True
    return False


def _first_whole(bound: Bound) -> int:
    first = math.ceil(bound.value)
    return first + 1 if first == bound.value and 0 not in bound.sides else first


def _last_whole(bound: Bound) -> int:
    last = math.floor(bound.value)
    return last - 1 if last == bound.value and 0 not in bound.sides else last


def number_automaton(bounds: Sequence[Bound], multiples: Sequence[Multiple], *, whole: bool) -> Automaton | None:
    """Return the automaton of the numbers that satisfy all bounds; None if there are none.

    Raises:
        NumberError: a bound or step that cannot be enforced.
        TooLarge: bounds and steps together need too many states.
    """
    near = []
    for bound in dict.fromkeys(bounds):
        if abs(bound.value) < _FAR:
            near.append(bound)
        elif (1 if bound.value < 0 else -1) not in bound.sides:
            return None
    near = _tightest(near, whole=whole)
    return _Reader(near, list(dict.fromkeys(multiples)), whole=whole).automaton()


def _tightest(bounds: Sequence[Bound], *, whole: bool) -> list[Bound]:
    """Return the bounds without those that others imply. Of whole numbers, with whole bounds."""
    if whole:
        bounds = [_whole(bound) for bound in bounds if bound.sides != OTHER or bound.value.denominator == 1]
    lows = sorted((b for b in bounds if b.sides <= AT_LEAST), key=lambda b: (b.value, 0 not in b.sides))
    highs = sorted((b for b in bounds if b.sides <= AT_MOST), key=lambda b: (-b.value, 0 not in b.sides))
    return [*lows[-1:], *highs[-1:], *(b for b in bounds if b.sides == OTHER)]


def _whole(bound: Bound) -> Bound:
    if bound.sides <= AT_LEAST:
        return Bound(Fraction(_first_whole(bound)), AT_LEAST)
    return Bound(Fraction(_last_whole(bound)), AT_MOST) if bound.sides <= AT_MOST else bound


@dataclass(frozen=True, slots=True)
class _Place:
    """The part of a number that was read: its sign, its digits, and how each bound compares so far."""

    phase: str
    negative: bool = False
    read: int = 0
    behind: int = 0
    compared: tuple[int, ...] = ()
    rests: tuple[tuple[int, bool], ...] = ()


class _Reader:
    def __init__(self, bounds: Sequence[Bound], multiples: Sequence[Multiple], *, whole: bool) -> None:
        # The last bound is 0, since no number is written as -0.
        self._bounds = [*bounds, Bound(Fraction(0), frozenset({-1, 0, 1}))]
        self._multiples = multiples
        self._magnitudes = [_decimal(abs(bound.value)) for bound in self._bounds]
        self._scales = []
        for multiple in multiples:
            places = _places(multiple.step)
            step = int(multiple.step * 10**places)
            if step > _MAX_MULTIPLE:
                raise NumberError(
                    f"multipleOf {float(multiple.step):.15g} has too many digits to be enforced; use a rounder number, "
                    "or leave it out"
                )
            self._scales.append((places, step))
        self._before = max(_DIGITS, *(_length(bound) for bound in self._bounds))
        self._after = 0 if whole else max([_DIGITS, *(len(after) + 1 for _, after in self._magnitudes)])
        for (places, _), multiple in zip(self._scales, multiples, strict=True):
            if multiple.wanted:
                self._after = min(self._after, places)

    def automaton(self) -> Automaton | None:
        return explore(_Place("start"), self._step, self._accepts)

    def _step(self, place: _Place) -> list[tuple[Ranges, _Place]]:
        found: list[tuple[Ranges, _Place]] = []
        if place.phase == "start":
            found.append((((0x2D, 0x2D),), _Place("sign", negative=True)))
        if place.phase in ("start", "sign"):
            fresh = _Place("whole", place.negative, 0, 0, (0,) * len(self._bounds), ((0, False),) * len(self._scales))
            found += [(_digit(digit), self._read(fresh, digit)) for digit in range(10)]
        elif place.phase == "whole":
            if place.read < self._before:
                found += [(_digit(digit), self._read(place, digit)) for digit in range(10)]
            self._point(place, found)
        elif place.phase == "zero":
            self._point(place, found)
        elif place.behind < self._after and (place.read < _DIGITS or place.behind < self._needed):
            found += [(_digit(digit), self._read_behind(place, digit)) for digit in range(10)]
        return [(ranges, target) for ranges, target in found if self._may_go_on(target)]

    @property
    def _needed(self) -> int:
        """Digits after the point that the bounds need."""
        return max((len(after) + 1 for _, after in self._magnitudes), default=0)

    def _point(self, place: _Place, found: list[tuple[Ranges, _Place]]) -> None:
        if self._after:
            compared = self._settled(place)
            found.append((((0x2E, 0x2E),), _Place("point", place.negative, place.read, 0, compared, place.rests)))

    def _read(self, place: _Place, digit: int) -> _Place:
        compared = []
        for (before, _), so_far in zip(self._magnitudes, place.compared, strict=True):
            if so_far == 0 and place.read < len(before):
                so_far = (digit > int(before[place.read])) - (digit < int(before[place.read]))
            elif place.read == len(before):
                # A longer number is larger, whatever its digits are.
                so_far = 1
            compared.append(so_far)
        # Only the rest of the whole part is kept: its scaling follows where the number ends.
        rests = tuple(
            ((rest * 10 + digit) % step, False) for (rest, _), (_, step) in zip(place.rests, self._scales, strict=True)
        )
        phase = "zero" if digit == 0 and place.read == 0 else "whole"
        return _Place(phase, place.negative, place.read + 1, 0, tuple(compared), rests)

    def _read_behind(self, place: _Place, digit: int) -> _Place:
        compared = []
        for (_, after), so_far in zip(self._magnitudes, place.compared, strict=True):
            if so_far == 0:
                wanted = int(after[place.behind]) if place.behind < len(after) else 0
                so_far = (digit > wanted) - (digit < wanted)
            compared.append(so_far)
        rests = []
        for (rest, beyond), (places, step) in zip(place.rests, self._scales, strict=True):
            if place.behind < places:
                rests.append(((rest * 10 + digit) % step, beyond))
            else:
                rests.append((rest, beyond or digit != 0))
        return _Place("fraction", place.negative, place.read + 1, place.behind + 1, tuple(compared), tuple(rests))

    def _settled(self, place: _Place) -> tuple[int, ...]:
        """Return how the whole part compares, now that its length is known."""
        return tuple(
            -1 if place.read < len(before) else so_far
            for (before, _), so_far in zip(self._magnitudes, place.compared, strict=True)
        )

    def _may_go_on(self, place: _Place) -> bool:
        """Return whether no bound is broken for good."""
        if place.phase not in ("point", "fraction"):
            return True
        return all(
            so_far == 0 or self._side(bound, so_far, negative=place.negative) in bound.sides
            for bound, so_far in zip(self._bounds, place.compared, strict=True)
        )

    def _side(self, bound: Bound, magnitude: int, *, negative: bool) -> int:
        if negative:
            return -1 if bound.value >= 0 else -magnitude
        return 1 if bound.value < 0 else magnitude

    def _accepts(self, place: _Place) -> bool:
        if place.phase not in ("whole", "zero", "fraction"):
            return False
        compared = place.compared
        if place.phase == "fraction":
            # Digits that were not written are zeros.
            compared = tuple(
                -1 if so_far == 0 and any(digit != "0" for digit in after[place.behind :]) else so_far
                for (_, after), so_far in zip(self._magnitudes, compared, strict=True)
            )
        else:
            compared = tuple(
                -1 if so_far == 0 and after.strip("0") else so_far
                for (_, after), so_far in zip(self._magnitudes, self._settled(place), strict=True)
            )
        if place.negative and compared[-1] == 0:
            return False
        for bound, so_far in zip(self._bounds, compared, strict=True):
            if self._side(bound, so_far, negative=place.negative) not in bound.sides:
                return False
        for (rest, beyond), (places, step), multiple in zip(place.rests, self._scales, self._multiples, strict=True):
            missing = max(0, places - place.behind)
            if ((rest * 10**missing) % step == 0 and not beyond) != multiple.wanted:
                return False
        return True


def _length(bound: Bound) -> int:
    """Return the digits before the point that numbers on the bound's open side need."""
    outwards = 1 if bound.value > 0 else -1
    return len(_decimal(abs(bound.value))[0]) + int(outwards in bound.sides and bound.value != 0)


def _digit(digit: int) -> Ranges:
    return ((0x30 + digit, 0x30 + digit),)


def _places(value: Fraction) -> int:
    """Return the digits after the point of a decimal fraction."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    return places


def _decimal(value: Fraction) -> tuple[str, str]:
    """Return the digits before and after the point."""
    places = _places(value)
    digits = str(int(value * 10**places)).rjust(places + 1, "0")
    return digits[: len(digits) - places], digits[len(digits) - places :]
