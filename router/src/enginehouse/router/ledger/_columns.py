"""Columns of many rows as a few arguments of a statement.

The driver takes a third of a microsecond to a whole one over each element of an array, so that the arrays of a row of
usage take as long as all the rest of its settlement. Joined, a column is a single text, which PostgreSQL takes apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Control characters, which hardly any value has, and then whatever none has.
_SEPARATORS = "\x1f\x1e\x1d\x1c\x1b\x1a"


def integers(place: int, kind: str = "bigint") -> str:
    """SQL of the array that the argument of that place, made by `join_integers`, stands for."""
    return f"string_to_array(${place}::text, ',')::{kind}[]"


def texts(place: int, *, separator: int) -> str:
    """SQL of the array that an argument made by `join_texts` stands for; `separator` is the separator's own place."""
    return f"(string_to_array(${place}::text, ${separator}::text))[2:]"


def join_integers(values: Iterable[int]) -> str:
    """A column of integers."""
    return ",".join(map(str, values))


def join_texts(columns: Sequence[Sequence[str]]) -> tuple[str, list[str]]:
    """Columns of texts: a separator that is in none of them, and each column joined with it."""
    plain = ["".join(column) for column in columns]
    for separator in _SEPARATORS:
        if not any(separator in text for text in plain):
            break
    else:
        found = set().union(*plain)
        separator = next(chr(code) for code in range(1, 0x110000) if chr(code) not in found)
    # One in front, so that a single empty text is told from none.
    return separator, [separator + separator.join(column) if column else "" for column in columns]
