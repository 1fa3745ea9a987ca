"""Regular expressions with intersection and complement, and their derivatives.

The derivative of an expression by a character is what may follow that character. All expressions that derivatives lead
to are the states of an automaton (Brzozowski), so that patterns, formats, lengths and their negations combine exactly.

A language here is of whole texts, each ended by the code point `END`; `BEGIN` stands before a text where a pattern may
ask for its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

LAST_CODE: Final = 0x10FFFF
BEGIN: Final = 0x110000
END: Final = 0x110001

Ranges = tuple[tuple[int, int], ...]


_MAX_WORK = 200_000


class TooLarge(ValueError):
    """Texts or numbers whose automaton would have too many states."""


class Expression:
    """One expression of an `Expressions`, equal only to itself."""

    __slots__ = ("high", "kind", "low", "nullable", "number", "parts", "ranges")

    def __init__(
        self, kind: str, parts: tuple[Expression, ...], ranges: Ranges, low: int, high: int | None, nullable: bool
    ) -> None:
        self.kind = kind
        self.parts = parts
        self.ranges = ranges
        self.low = low
        self.high = high
        self.nullable = nullable
        self.number = 0


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the ranges in order, without overlaps."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def outside(ranges: Iterable[tuple[int, int]], last: int = LAST_CODE) -> Ranges:
    """Return the code points up to `last` that are in none of the ranges."""
    left, at = [], 0
    for low, high in joined(ranges):
        if low > at:
            left.append((at, min(low - 1, last)))
        at = max(at, high + 1)
    if at <= last:
        left.append((at, last))
    return tuple(left)


def shared(one: Ranges, other: Ranges) -> Ranges:
    """Return the code points that are in both."""
    return joined((max(a, c), min(b, d)) for a, b in one for c, d in other if max(a, c) <= min(b, d))


class Expressions:
    """A maker of expressions. Equal ones are the same object.

    Derivatives raise TooLarge once there were too many of them.
    """

    def __init__(self) -> None:
        self._made: dict[object, Expression] = {}
        self._derived: dict[tuple[int, int], Expression] = {}
        self._cuts: dict[int, frozenset[int]] = {}
        self._work = 0
        self.nothing = self._make("nothing")
        """No text at all."""
        self.empty = self._make("empty", nullable=True)
        """The empty text."""
        self._anything = self.chars(((0, END),))
        self.everything = self.repeated(self._anything, 0, None)
        """Every text, with or without its ends."""
        self.character = self.chars(((0, LAST_CODE),))
        """Any one character."""
        self.begin = self.chars(((BEGIN, BEGIN),))
        self.end = self.chars(((END, END),))
        self.texts = self.sequence(self.repeated(self.character, 0, None), self.end)
        """Every text, ended."""

    def _make(
        self,
        kind: str,
        parts: tuple[Expression, ...] = (),
        ranges: Ranges = (),
        low: int = 0,
        high: int | None = 0,
        nullable: bool = False,
    ) -> Expression:
        key = (kind, tuple(part.number for part in parts), ranges, low, high)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = Expression(kind, parts, ranges, low, high, nullable)
            found.number = len(self._made)
        return found

    def chars(self, ranges: Iterable[tuple[int, int]]) -> Expression:
        """Return one character of these ranges."""
        joint = joined(ranges)
        return self._make("chars", ranges=joint) if joint else self.nothing

    def literal(self, text: str) -> Expression:
        """Return exactly this text."""
        return self.sequence(*(self.chars(((ord(character), ord(character)),)) for character in text))

    def sequence(self, *parts: Expression) -> Expression:
        """Return the parts, one after the other."""
        whole = self.empty
        for part in reversed(parts):
            whole = self._pair(part, whole)
        return whole

    def _pair(self, first: Expression, second: Expression) -> Expression:
        if self.nothing in (first, second):
            return self.nothing
        if first is self.empty:
            return second
        if second is self.empty:
            return first
        if first.kind == "sequence":
            return self._pair(first.parts[0], self._pair(first.parts[1], second))
        return self._make("sequence", (first, second), nullable=first.nullable and second.nullable)

    def either(self, parts: Iterable[Expression]) -> Expression:
        """Return any of the parts."""
        flat: dict[int, Expression] = {}
        ranges: list[tuple[int, int]] = []
        for part in parts:
            for inner in part.parts if part.kind == "either" else (part,):
                if inner.kind == "chars":
                    ranges += inner.ranges
                elif inner is not self.nothing:
                    flat[inner.number] = inner
        if self.everything.number in flat:
            return self.everything
        if ranges:
            together = self.chars(ranges)
            flat[together.number] = together
        if not flat:
            return self.nothing
        ordered = tuple(flat[number] for number in sorted(flat))
        return ordered[0] if len(ordered) == 1 else self._make("either", ordered, nullable=any_nullable(ordered))

    def both(self, parts: Iterable[Expression]) -> Expression:
        """Return what is in all of the parts."""
        flat: dict[int, Expression] = {}
        ranges: Ranges | None = None
        for part in parts:
            for inner in part.parts if part.kind == "both" else (part,):
                if inner is self.nothing:
                    return self.nothing
                if inner.kind == "chars":
                    ranges = inner.ranges if ranges is None else shared(ranges, inner.ranges)
                elif inner is not self.everything:
                    flat[inner.number] = inner
        if ranges is not None:
            together = self.chars(ranges)
            if together is self.nothing:
                return self.nothing
            flat[together.number] = together
        if not flat:
            return self.everything
        ordered = tuple(flat[number] for number in sorted(flat))
        nullable = all(part.nullable for part in ordered)
        return ordered[0] if len(ordered) == 1 else self._make("both", ordered, nullable=nullable)

    def negated(self, part: Expression) -> Expression:
        """Return every text that is not in the part."""
        if part.kind == "negated":
            return part.parts[0]
        if part is self.nothing:
            return self.everything
        if part is self.everything:
            return self.nothing
        return self._make("negated", (part,), nullable=not part.nullable)

    def repeated(self, part: Expression, low: int, high: int | None) -> Expression:
        """Return the part, from `low` to `high` times; any number of times if that is None."""
        if high is not None and low > high:
            return self.nothing
        if part is self.nothing:
            return self.empty if low == 0 else self.nothing
        if part is self.empty or high == 0:
            return self.empty
        if (low, high) == (1, 1):
            return part
        low = 0 if part.nullable else low
        return self._make("repeated", (part,), low=low, high=high, nullable=low == 0)

    def derivative(self, expression: Expression, code: int) -> Expression:
        """Return what may follow this character."""
        key = (expression.number, code)
        found = self._derived.get(key)
        if found is None:
            self._work += 1 + len(expression.parts)
            if self._work > _MAX_WORK:
                raise TooLarge
            found = self._derived[key] = self._derive(expression, code)
        return found

    def _derive(self, expression: Expression, code: int) -> Expression:
        kind, parts = expression.kind, expression.parts
        if kind == "chars":
            return self.empty if any(low <= code <= high for low, high in expression.ranges) else self.nothing
        if kind == "sequence":
            after = self._pair(self.derivative(parts[0], code), parts[1])
            return self.either((after, self.derivative(parts[1], code))) if parts[0].nullable else after
        if kind == "either":
            return self.either(self.derivative(part, code) for part in parts)
        if kind == "both":
            return self.both(self.derivative(part, code) for part in parts)
        if kind == "negated":
            return self.negated(self.derivative(parts[0], code))
        if kind == "repeated":
            high = None if expression.high is None else expression.high - 1
            rest = self.repeated(parts[0], max(0, expression.low - 1), high)
            return self._pair(self.derivative(parts[0], code), rest)
        return self.nothing

    def cuts(self, expression: Expression) -> frozenset[int]:
        """Return the code points at which the derivative may change."""
        found = self._cuts.get(expression.number)
        if found is None:
            if expression.kind == "chars":
                found = frozenset(cut for low, high in expression.ranges for cut in (low, high + 1))
            elif expression.kind == "sequence" and not expression.parts[0].nullable:
                found = self.cuts(expression.parts[0])
            else:
                found = frozenset[int]().union(*(self.cuts(part) for part in expression.parts))
            self._cuts[expression.number] = found
        return found

    def accepts(self, expression: Expression, text: str) -> bool:
        """Return whether an ended text is in the language."""
        for character in text:
            expression = self.derivative(expression, ord(character))
        return self.derivative(expression, END).nullable


def any_nullable(parts: Sequence[Expression]) -> bool:
    """Return whether one of the parts has the empty text."""
    return any(part.nullable for part in parts)
