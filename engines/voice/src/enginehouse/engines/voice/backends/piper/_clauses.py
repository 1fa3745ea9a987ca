"""Cut long sentences into clauses, so that the first is heard while the next is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_BREAKS = frozenset(",;:،؛、，；：")
# Shorter sentences are spoken in one go, which sounds best. A phoneme takes some 10 ms to make on one core.
_WHOLE = 110
# The first clause is heard as soon as possible; the others are as long as will be ready in time.
_FIRST, _NEXT = 25, 70
# A shorter rest stays with the clause before it.
_REST = 20
# What one call makes at most, so that it takes bounded time and memory: some 30 s of speech.
_MAX = 400


def clauses(sentence: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the parts of a sentence's phonemes, in order: the whole sentence unless it is long."""
    start = 0
    if len(sentence) > _WHOLE:
        for end in range(1, len(sentence) - _REST):
            enough = end - start >= (_NEXT if start else _FIRST)
            if enough and sentence[end - 1] in _BREAKS and sentence[end] == " ":
                yield from _bounded(sentence[start:end])
                start = end + 1
    yield from _bounded(sentence[start:])


def _bounded(clause: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield a clause in parts of at most `_MAX` phonemes, cut between words if there are any."""
    while len(clause) > _MAX:
        cut = max((at for at in range(_MAX // 2, _MAX) if clause[at] == " "), default=_MAX - 1) + 1
        yield clause[:cut]
        clause = clause[cut:]
    if clause:
        yield clause
