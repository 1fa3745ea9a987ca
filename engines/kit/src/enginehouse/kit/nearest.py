"""Suggestions for a name that is unknown: the known names that are most like it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names come from callers: comparing takes time by their length.
_MAX_NAME_LENGTH = 128
_CUTOFF = 0.5


def nearest_names(name: str, known: Iterable[str], *, count: int = 1, cutoff: float = _CUTOFF) -> list[str]:
    """Return up to `count` known names that are like the name, the nearest first; empty if none is.

    Args:
        name: the unknown name.
        known: the names that exist.
        count: how many to return at most.
        cutoff: how much they must be like it, 0 to 1; with 0 there are always some.
    """
    return difflib.get_close_matches(name[:_MAX_NAME_LENGTH], sorted(known), n=count, cutoff=cutoff)


def did_you_mean(name: str, known: Iterable[str], *, count: int = 1, list_known: bool = False) -> str:
    """Return the end of an error message: `; did you mean 'x' or 'y'?`; empty if nothing known is like the name.

    Args:
        name: the unknown name.
        known: the names that exist.
        count: how many to suggest at most.
        list_known: where nothing is like the name, return `; known: a, b` instead of nothing.
    """
    choices = sorted(known)
    near = nearest_names(name, choices, count=count)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; known: {', '.join(choices)}" if list_known and choices else ""
