"""Sentences gathered to chunks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from enginehouse.engines.voice.text._plan import Chunk, Item, Pause

_ALONE = 2
"""The number of sentences at the beginning are chunks of their own, for the first audio to come soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSentence:
    """A sentence with what is said for it."""

    first: int
    """The index of its first character in the text."""
    end: int
    """The index behind its last one."""
    items: Sequence[Item]
    """What is said; empty for nothing."""
    pause_ms: int
    """The silence that belongs before it."""


def gather_chunks(parts: Iterable[PlannedSentence], *, characters: int, max_length: int) -> list[Chunk]:
    """The chunks of a text. They cover it from its first character to its last; the pause before a chunk is the last
    item of the one before, so that whoever begins with a later chunk begins with speech.

    Args:
        parts: the text's sentences, in order.
        characters: how many the text has.
        max_length: the most characters of a chunk of more than one sentence.
    """
    chunks: list[Chunk] = []
    items: list[Item] = []
    begin = pause_ms = 0
    for part in parts:
        pause_ms = max(pause_ms, part.pause_ms)
        if not part.items:
            continue
        if items:
            if pause_ms:
                items.append(Pause(pause_ms))
            if len(chunks) < _ALONE or part.end - begin > max_length:
                chunks.append(Chunk(first_character=begin, characters=part.first - begin, items=tuple(items)))
                begin, items = part.first, []
        items += part.items
        pause_ms = 0
    if characters or items:
        chunks.append(Chunk(first_character=begin, characters=characters - begin, items=tuple(items)))
    return chunks
