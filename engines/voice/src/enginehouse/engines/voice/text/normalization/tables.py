"""Tables of words in a readable notation."""

from __future__ import annotations

import re
from collections.abc import Iterable


def table(text: str) -> dict[str, str]:
    """Parse written forms with their words: "Mr. = Mister | Dr. = Doctor", on any number of lines."""
    pairs = (entry.strip().partition(" = ") for entry in text.replace("\n", " | ").split(" | ") if entry.strip())
    return {written.strip(): words.strip() for written, _, words in pairs}


def unit_names(text: str) -> dict[str, tuple[str, str]]:
    """Parse signs with their singular and plural: "km, kms = kilometre, kilometres | ..."."""
    forms: dict[str, tuple[str, str]] = {}
    for signs, words in table(text).items():
        one, _, many = words.partition(", ")
        forms |= dict.fromkeys(signs.split(", "), (one, many))
    return forms


def any_of(words: Iterable[str]) -> str:
    """Return a regular expression for any of the words, in a group of its own; the longest match wins."""
    return f"(?:{'|'.join(re.escape(word) for word in sorted(words, key=len, reverse=True))})"
