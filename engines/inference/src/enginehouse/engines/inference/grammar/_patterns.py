"""Regular expressions of schemas, as ECMAScript and Python both read them.

Where the two differ (Unicode digits, what a dot leaves out) the narrower reading bounds the output; where a pattern
must not match, the wider one does.
"""

from __future__ import annotations

import re
import re._constants as ops  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from enginehouse.engines.inference.grammar._expressions import LAST_CODE, Expression, Expressions, Ranges, outside

_MAX_BYTES = 4096
_MAX_COUNT = 2000
_DIGITS: Ranges = ((0x30, 0x39),)
_WORDS: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACES: Ranges = ((0x09, 0x0D), (0x20, 0x20))
_ALL_SPACES: Ranges = (
    (0x09, 0x0D), (0x1C, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029),
    (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
# The first decimal digit beyond ASCII is U+0660.
_WIDE_DIGITS: Ranges = (*_DIGITS, (0x660, LAST_CODE))
_WIDE_WORDS: Ranges = (*_WORDS, (0x80, LAST_CODE))
_CATEGORIES: Mapping[Any, tuple[Ranges, Ranges]] = {
    ops.CATEGORY_DIGIT: (_DIGITS, _WIDE_DIGITS),
    ops.CATEGORY_WORD: (_WORDS, _WIDE_WORDS),
    ops.CATEGORY_SPACE: (_SPACES, _ALL_SPACES),
    ops.CATEGORY_NOT_DIGIT: (outside(_WIDE_DIGITS), outside(_DIGITS)),
    ops.CATEGORY_NOT_WORD: (outside(_WIDE_WORDS), outside(_WORDS)),
    ops.CATEGORY_NOT_SPACE: (outside(_ALL_SPACES), outside(_SPACES)),
}
"""The characters of each class for certain, and those that one reading or another counts."""
_NARROW_DOT = outside(((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)))
_WIDE_DOT = outside(((0x0A, 0x0A),))
# Constructs that mean different things to the two.
_PYTHON_ONLY = re.compile(r"(?:[^\\]|^)(?:\\\\)*(\\[aAZNpP]|\[\^?\])")
_NAMED_GROUP = re.compile(r"\(\?<(?![=!])")
_UNSUPPORTED = {
    "GROUPREF": "a back reference",
    "GROUPREF_EXISTS": "a conditional group",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive repetition",
}
_ASSERTIONS = (ops.ASSERT, ops.ASSERT_NOT)


class PatternError(ValueError):
    """A pattern that cannot be enforced; the message has the reason."""


def pattern_expression(expressions: Expressions, pattern: str, *, generous: bool) -> Expression:
    """Return the ended texts in which the pattern matches somewhere.

    Args:
        generous: true for every text that any reading accepts, false for those that all readings do.

    Raises:
        PatternError: the pattern cannot be enforced.
    """
    if len(pattern.encode()) > _MAX_BYTES:
        raise PatternError(f"has {len(pattern.encode())} bytes, and at most {_MAX_BYTES} are allowed; shorten it")
    only = _PYTHON_ONLY.search(pattern)
    if only is not None:
        raise PatternError(f"uses {only[1]}, which readers understand differently; write ^ and $, or a range")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = parser.parse(_NAMED_GROUP.sub("(?P<", pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"is not a regular expression ({error}); correct it") from None
    if tree.state.flags & ~re.UNICODE.value:
        raise PatternError("sets flags, which are not supported; write both cases of a letter as [Aa]")
    try:
        return _Reader(expressions, generous).whole(list(tree))
    except RecursionError:
        raise PatternError("is nested too deeply; flatten it") from None


def _is_zero_width(item: tuple[Any, Any]) -> bool:
    return item[0] is ops.AT or item[0] in _ASSERTIONS


def _looks_around(items: Any) -> bool:
    """Return whether a part asks about more than its own characters."""
    for op, argument in items:
        if _is_zero_width((op, argument)):
            return True
        if op is ops.BRANCH and any(_looks_around(branch) for branch in argument[1]):
            return True
        if op is ops.SUBPATTERN and _looks_around(argument[3]):
            return True
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT) and _looks_around(argument[2]):
            return True
    return False


class _Reader:
    def __init__(self, expressions: Expressions, generous: bool) -> None:
        self._expressions = expressions
        self._generous = generous

    def whole(self, items: Sequence[Any]) -> Expression:
        """Return the ended texts in which the items match somewhere."""
        make = self._expressions
        items = self._begin_first(items)
        if len(items) == 1 and items[0][0] is ops.BRANCH:
            return make.either(self.whole(branch) for branch in items[0][1][1])
        if len(items) == 1 and items[0][0] is ops.SUBPATTERN:
            self._refuse_flags(items[0][1])
            return self.whole(items[0][1][3])
        if items and items[0] == (ops.AT, ops.AT_BEGINNING):
            return self.rest(items[1:], make.everything, lead="start", trail=True)
        body = self.rest(items, make.everything, lead="free", trail=True)
        return make.derivative(make.sequence(make.everything, body), make.begin.ranges[0][0])

    def rest(self, items: Sequence[Any], following: Expression, *, lead: str, trail: bool) -> Expression:
        """Return the items and what follows them.

        Args:
            lead: "free" where a ^ may ask for the beginning, "start" where it is known to be there, else "inside".
            trail: whether nothing but the end need follow.
        """
        items = self._begin_first(items)
        leads = []
        for op, argument in items:
            leads.append(lead)
            if op is ops.AT and argument is ops.AT_BEGINNING and lead == "free":
                lead = "start"
            elif not _is_zero_width((op, argument)):
                lead = "inside"
        for index in range(len(items) - 1, -1, -1):
            last = trail and all(_is_zero_width(item) for item in items[index + 1 :])
            following = self._before(items[index], following, lead=leads[index], trail=last)
        return following

    def _begin_first(self, items: Sequence[Any]) -> list[Any]:
        ordered = list(items)
        for index, (op, argument) in enumerate(ordered):
            if op is ops.AT and argument is ops.AT_BEGINNING:
                return [ordered[index], *ordered[:index], *ordered[index + 1 :]]
            if op not in _ASSERTIONS:
                break
        return ordered

    def _before(self, item: Any, following: Expression, *, lead: str, trail: bool) -> Expression:
        op, argument = item
        make = self._expressions
        if op is ops.AT:
            return self._anchored(argument, following, lead=lead, trail=trail)
        if op in _ASSERTIONS:
            direction, inner = argument
            if direction < 0:
                raise PatternError("uses a lookbehind, which is not supported; write what comes before in its place")
            reader = self if op is ops.ASSERT else _Reader(make, not self._generous)
            ahead = reader.rest(inner, make.everything, lead="start" if lead == "start" else "inside", trail=True)
            return make.both((ahead if op is ops.ASSERT else make.negated(ahead), following))
        if not _looks_around([item]):
            return make.sequence(self._item(op, argument), following)
        if op is ops.SUBPATTERN:
            self._refuse_flags(argument)
            return self.rest(argument[3], following, lead=lead, trail=trail)
        if op is ops.BRANCH:
            return make.either(self.rest(branch, following, lead=lead, trail=trail) for branch in argument[1])
        low, high, inner = argument
        if (int(low), high) != (0, 1):
            raise PatternError(
                "uses an anchor or a lookahead inside of a repetition, which is not supported; move it out of that"
            )
        return make.either((following, self.rest(inner, following, lead=lead, trail=trail)))

    def _anchored(self, at: Any, following: Expression, *, lead: str, trail: bool) -> Expression:
        if at is ops.AT_BEGINNING and lead != "inside":
            return following if lead == "start" else self._expressions.sequence(self._expressions.begin, following)
        if at is ops.AT_END and trail:
            # Where two ask for the end, the second finds it behind it.
            behind = self._expressions.derivative(following, self._expressions.end.ranges[0][0])
            return self._expressions.sequence(self._expressions.end, self._expressions.either((following, behind)))
        if at in (ops.AT_BEGINNING, ops.AT_END):
            raise PatternError("has a ^ or $ in its middle, which is not supported; begin with ^ and end with $")
        raise PatternError(
            "uses a word boundary, which is not supported; write the characters around it, as in (^|[^a-z])"
        )

    def _refuse_flags(self, argument: Any) -> None:
        _, added, removed, _ = argument
        if added or removed:
            raise PatternError("sets flags, which are not supported; write both cases of a letter as [Aa]")

    def _item(self, op: Any, argument: Any) -> Expression:
        make = self._expressions
        if op is ops.LITERAL:
            return make.chars(((argument, argument),))
        if op is ops.NOT_LITERAL:
            return make.chars(outside(((argument, argument),)))
        if op is ops.ANY:
            return make.chars(_WIDE_DOT if self._generous else _NARROW_DOT)
        if op is ops.IN:
            return make.chars(self._set(argument))
        if op is ops.BRANCH:
            return make.either(self._items(branch) for branch in argument[1])
        if op is ops.SUBPATTERN:
            self._refuse_flags(argument)
            return self._items(argument[3])
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            low, high, inner = argument
            if low > _MAX_COUNT or (high is not ops.MAXREPEAT and high > _MAX_COUNT):
                raise PatternError(f"repeats a part over {_MAX_COUNT} times; repeat it less, or without a limit")
            return make.repeated(self._items(inner), int(low), None if high is ops.MAXREPEAT else int(high))
        name = _UNSUPPORTED.get(str(op), str(op).lower().replace("_", " "))
        raise PatternError(f"uses {name}, which is not supported; rewrite the pattern without it")

    def _items(self, items: Any) -> Expression:
        return self._expressions.sequence(*(self._item(op, argument) for op, argument in items))

    def _set(self, members: Any) -> Ranges:
        negated = bool(members) and members[0][0] is ops.NEGATE
        # What a negated class leaves out is read the other way.
        wide = self._generous != negated
        ranges: list[tuple[int, int]] = []
        for op, argument in members[1:] if negated else members:
            if op is ops.LITERAL:
                ranges.append((argument, argument))
            elif op is ops.RANGE:
                ranges.append((argument[0], argument[1]))
            elif op is ops.CATEGORY and argument in _CATEGORIES:
                ranges += _CATEGORIES[argument][wide]
            else:
                raise PatternError("has a character class that is not supported; write ranges, as in [a-z]")
        return outside(ranges) if negated else tuple(ranges)
