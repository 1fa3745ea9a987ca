"""Tables of words, written so that they can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable


def table(text: str) -> dict[str, str]:
    """What is written, and what is said for it: "Mr. = Mister | Dr. = Doctor", on any number of lines."""
    pairs = (entry.strip().partition(" = ") for entry in text.replace("\n", " | ").split(" | ") if entry.strip())
    return {written.strip(): said.strip() for written, _, said in pairs}


def counted(text: str) -> dict[str, tuple[str, str]]:
    """Signs, and what one and several are called: "km, kms = kilometre, kilometres | ..."."""
    forms: dict[str, tuple[str, str]] = {}
    for signs, said in table(text).items():
        one, _, many = said.partition(", ")
        forms |= dict.fromkeys(signs.split(", "), (one, many))
    return forms


def any_of(words: Iterable[str]) -> str:
    """A regular expression for one of some words, in a group of its own; the longest that fits."""
    return f"(?:{'|'.join(re.escape(word) for word in sorted(words, key=len, reverse=True))})"
