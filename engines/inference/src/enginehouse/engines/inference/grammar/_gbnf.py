"""Building blocks of GBNF text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

# With more repetitions llama.cpp refuses the whole grammar.
MAX_REPEATS = 1000

PRIMITIVES: Mapping[str, str] = {
    "ws": r'" "?',
    "hex": r"[0-9a-fA-F]",
    # An escaped surrogate on its own would not be valid text.
    "char": r"""[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex))""",
    "string": r'"\"" char* "\""',
    "digits": r"[0-9]{1,15}",
    "natural": r'"0" | [1-9] [0-9]{0,15}',
    "integer": r'"-"? natural',
    "number": r'integer ("." digits)? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": r'"true" | "false"',
    "null": r'"null"',
    "value": r"object | array | string | number | boolean | null",
    "object": r'"{" (member ("," ws member)*)? "}"',
    "member": r'string ":" ws value',
    "array": r'"[" (value ("," ws value)*)? "]"',
    "date": r'[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])',
    "clock": r'([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})?',
    "offset": r'"Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]',
    "uuid": r'hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}',
}
"""Rules that any grammar may name. Dates have only the days that every month has."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "char": ("hex",),
    "string": ("char",),
    "integer": ("natural",),
    "number": ("integer", "digits"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
    "object": ("member", "ws"),
    "member": ("string", "ws", "value"),
    "array": ("value", "ws"),
    "uuid": ("hex",),
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
    """Return GBNF for exactly this JSON value."""
    return literal(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


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
    bounds = f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"
    return f"({item}){bounds}"


def separated(item: str, least: int, most: int | None) -> str:
    """Return GBNF for items with commas between them."""
    if most == 0:
        return '""'
    rest = repeat(f'"," ws {item}', max(0, least - 1), None if most is None else most - 1)
    return f"{item} {rest}" if least else f"({item} {rest})?"
