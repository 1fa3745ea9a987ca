"""Cut text that is too long for one utterance."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_CLAUSES = re.compile(r"[,;:،؛–—)\]](?=\s)|[，、；：]")
_SPACE = re.compile(r"\s")
_MAX_CLUSTER_LENGTH = 16
_JOINERS = "\u200c\u200d"


def cut_at(text: str, start: int, max_length: int) -> int:
    """Return where to cut text longer than `max_length` from `start` on.

    That is behind a clause in the second half of what fits, else at the last space, else between two letters, but not
    between a letter and its combining marks.
    """
    limit = start + max_length
    best = 0
    for clause in _CLAUSES.finditer(text, start + max_length // 2, limit):
        best = clause.end()
    if best:
        return best
    for space in _SPACE.finditer(text, start + 1, limit + 1):
        best = space.start()
    return best or _between_letters(text, start, limit)


def _between_letters(text: str, start: int, limit: int) -> int:
    for at in range(limit, max(start, limit - _MAX_CLUSTER_LENGTH), -1):
        before, after = text[at - 1], text[at]
        joined = before in _JOINERS or after in _JOINERS or unicodedata.combining(before) == _VIRAMA
        if not joined and unicodedata.category(after)[0] != "M":
            return at
    return limit


_VIRAMA = 9
"""The combining class of the virama, which joins two consonants."""


def pieces(text: str, max_length: int) -> Iterator[str]:
    """Yield the text in pieces of at most `max_length` characters, none empty or with white space around it."""
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        end = cut_at(text, start, max_length) if len(text) - start > max_length else len(text)
        yield text[start:end].rstrip()
        start = end
