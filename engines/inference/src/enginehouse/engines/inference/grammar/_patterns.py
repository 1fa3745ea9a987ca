"""GBNF for regular expressions that bound JSON strings."""

from __future__ import annotations

import json
import re
import re._constants as ops  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from typing import Any

from enginehouse.engines.inference.grammar._gbnf import literal, one_of, repeat

_CATEGORIES = {
    ops.CATEGORY_DIGIT: "0-9",
    ops.CATEGORY_WORD: "a-zA-Z0-9_",
    ops.CATEGORY_SPACE: " ",
}
_NEGATED = {
    ops.CATEGORY_NOT_DIGIT: "0-9",
    ops.CATEGORY_NOT_WORD: "a-zA-Z0-9_",
    ops.CATEGORY_NOT_SPACE: r" \t",
}
# Characters that a JSON string cannot have unescaped, for negated classes.
_UNESCAPED_ONLY = r'"\\\x00-\x1F\x7F'
_MAX_BYTES = 1024


class PatternError(ValueError):
    """A pattern that cannot be enforced; the message has the reason."""


def pattern_grammar(pattern: str) -> str:
    """Return GBNF for the inside of a JSON string that the pattern matches, anywhere unless it is anchored.

    Raises:
        PatternError: the pattern cannot be enforced.
    """
    if len(pattern.encode()) > _MAX_BYTES:
        raise PatternError(f"has over {_MAX_BYTES} bytes")
    try:
        tree = list(parser.parse(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"is not a regular expression: {error}") from None
    before = after = "char*"
    if tree and tree[0] == (ops.AT, ops.AT_BEGINNING):
        before = ""
        tree = tree[1:]
    if tree and tree[-1] in ((ops.AT, ops.AT_END), (ops.AT, ops.AT_END_STRING)):
        after = ""
        tree = tree[:-1]
    return " ".join(part for part in (before, _sequence(tree), after) if part) or '""'


def _sequence(items: Any) -> str:
    return " ".join(_item(op, argument) for op, argument in items) or '""'


def _item(op: Any, argument: Any) -> str:
    if op is ops.LITERAL:
        # As JSON writes the character, without the quotes.
        return literal(_inside(chr(argument)))
    if op is ops.NOT_LITERAL:
        return f"[^{_UNESCAPED_ONLY}{_class_character(argument)}]"
    if op is ops.ANY:
        return "char"
    if op is ops.IN:
        return _class(argument)
    if op is ops.BRANCH:
        return one_of(_sequence(branch) for branch in argument[1])
    if op is ops.SUBPATTERN:
        _, added, removed, inner = argument
        if added or removed:
            raise PatternError("sets flags, which are not supported")
        return f"({_sequence(inner)})"
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        least, most, inner = argument
        return repeat(_sequence(inner), int(least), None if most is ops.MAXREPEAT else int(most))
    raise PatternError(f"uses {str(op).lower().replace('_', ' ')}, which is not supported")


def _inside(text: str) -> str:
    """Return a text as it is written inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _class(members: Any) -> str:
    negated = bool(members) and members[0][0] is ops.NEGATE
    parts = []
    for op, argument in members[1:] if negated else members:
        if op is ops.LITERAL:
            _refuse_escaped(argument, argument, negated)
            parts.append(_class_character(argument))
        elif op is ops.RANGE:
            low, high = argument
            _refuse_escaped(low, high, negated)
            parts.append(f"{_class_character(low)}-{_class_character(high)}")
        elif op is ops.CATEGORY and argument in _CATEGORIES:
            parts.append(_CATEGORIES[argument])
        elif op is ops.CATEGORY and argument in _NEGATED and len(members) == 1:
            return f"[^{_UNESCAPED_ONLY}{_NEGATED[argument]}]"
        else:
            raise PatternError("has a character class that is not supported")
    return f"[^{_UNESCAPED_ONLY}{''.join(parts)}]" if negated else f"[{''.join(parts)}]"


def _refuse_escaped(low: int, high: int, negated: bool) -> None:
    if not negated and (low < 0x20 or any(low <= code <= high for code in (0x22, 0x5C, 0x7F))):
        raise PatternError("has a character class with characters that JSON escapes, which is not supported")


def _class_character(code: int) -> str:
    if chr(code) in r"\]^-[" or code == 0x22:
        return f"\\x{code:02X}"
    return chr(code) if 0x20 <= code != 0x7F else f"\\x{code:02X}"
