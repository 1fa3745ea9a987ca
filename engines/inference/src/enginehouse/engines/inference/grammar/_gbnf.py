"""Building blocks of GBNF text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# With more repetitions llama.cpp refuses the whole grammar.
MAX_REPEATS = 1000

# The code points that a JSON string may have without an escape; DEL may too, but no text needs it.
UNESCAPED = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF))
_SHORT_ESCAPES: Mapping[int, str] = {
    0x22: r"\"", 0x5C: "\\\\", 0x0A: r"\n", 0x0D: r"\r", 0x09: r"\t", 0x08: r"\b", 0x0C: r"\f"
}  # fmt: skip

PRIMITIVES: Mapping[str, str] = {
    "ws": r'" "?',
    "hex": r"[0-9a-fA-F]",
    # An escaped surrogate on its own would not be valid text.
    "char": r"""[\x20-\x21\x23-\x5B\x5D-\x7E\x80-\uD7FF\uE000-\U0010FFFF] | "\\" (["\\/bfnrt] | """
    r""""u" ([0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex))""",
    "string": r'"\"" char* "\""',
    "digits": r"[0-9]{1,15}",
    # Readers that keep numbers as doubles know 15 digits exactly.
    "natural": r'"0" | [1-9] [0-9]{0,14}',
    "integer": r'"-"? natural',
    "number": r'integer ("." digits)? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": r'"true" | "false"',
    "null": r'"null"',
    "value": r"object | array | string | number | boolean | null",
    "object": r'"{" (member ("," ws member)*)? "}"',
    "member": r'string ":" ws value',
    "array": r'"[" (value ("," ws value)*)? "]"',
}
"""Rules that any grammar may name."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "char": ("hex",),
    "string": ("char",),
    "integer": ("natural",),
    "number": ("integer", "digits"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
    "object": ("member", "ws"),
    "member": ("string", "ws", "value"),
    "array": ("value", "ws"),
}
"""The other primitives that each primitive names."""


def literal(text: str) -> str:
    """Return GBNF for exactly this text."""
    escaped = []
    for character in text:
        code = ord(character)
        if character in '"\\':
            escaped.append(f"\\{character}")
        elif code < 0x20 or code == 0x7F:
            escaped.append(f"\\x{code:02X}")
        else:
            escaped.append(character)
    return f'"{"".join(escaped)}"'


def json_literal(value: Any) -> str:
    """Return GBNF for exactly this JSON value, with or without a blank after each colon and comma within it."""
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not isinstance(value, dict | list) or not value:
        return literal(compact)
    spaced = json.dumps(value, ensure_ascii=False)
    return one_of(literal(text) for text in (compact, spaced))


def character_class(ranges: Sequence[tuple[int, int]]) -> str:
    """Return GBNF for one character of these ranges of code points."""
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return literal(chr(ranges[0][0]))
    parts = [_shown(low) if low == high else f"{_shown(low)}-{_shown(high)}" for low, high in ranges]
    return f"[{''.join(parts)}]"


def json_character(ranges: Sequence[tuple[int, int]]) -> str | None:
    """Return GBNF for one character of a JSON string, from these ranges; None if there is none.

    Control characters without a short escape are written only where there is nothing else to write.
    """
    plain = [
        (max(low, first), min(high, last))
        for low, high in ranges
        for first, last in UNESCAPED
        if max(low, first) <= min(high, last)
    ]
    options = [character_class(plain)] if plain else []
    inside = [code for code in _SHORT_ESCAPES if any(low <= code <= high for low, high in ranges)]
    options += [literal(_SHORT_ESCAPES[code]) for code in inside]
    if not options:
        controls = [code for code in (*range(0x20), 0x7F) if any(low <= code <= high for low, high in ranges)]
        options = [literal(f"\\u{code:04x}") for code in controls]
    return one_of(options) if options else None


def _shown(code: int) -> str:
    if code > 0xFFFF:
        return f"\\U{code:08X}"
    if code > 0x7E:
        return f"\\u{code:04X}"
    return chr(code) if chr(code).isalnum() or chr(code) in " _@.,:/" else f"\\x{code:02X}"


def one_of(alternatives: Iterable[str]) -> str:
    """Return GBNF for any of these."""
    distinct = list(dict.fromkeys(alternatives))
    return distinct[0] if len(distinct) == 1 else f"({' | '.join(distinct)})"


def repeat(item: str, least: int, most: int | None) -> str:
    """Return GBNF for a repeated item; an upper bound beyond llama.cpp's limit is lowered."""
    if most is not None:
        most = max(least, min(most, MAX_REPEATS))
    if (least, most) == (1, 1):
        return item
    if most == 0:
        return '""'
    bounds = f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
    return f"({item}){bounds}"


def separated(item: str, least: int, most: int | None) -> str:
    """Return GBNF for items with commas between them."""
    if most == 0:
        return '""'
    rest = repeat(f'"," ws {item}', max(0, least - 1), None if most is None else most - 1)
    return f"{item} {rest}" if least else f"({item} {rest})?"
