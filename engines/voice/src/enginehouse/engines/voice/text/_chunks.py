"""Gather sentences into chunks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from enginehouse.engines.voice.text._plan import Chunk, Item, Pause

_SINGLE_SENTENCES = 2
"""The number of sentences at the beginning that are chunks of their own, so that the first audio comes soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSentence:
    """A sentence with its items."""

    first: int
    """The index of its first character in the text."""
    end: int
    """The index after its last one."""
    items: Sequence[Item]
    """The spoken items; empty if nothing is spoken."""
    pause_ms: int
    """The silence before it."""


def gather_chunks(parts: Iterable[PlannedSentence], *, characters: int, max_length: int) -> list[Chunk]:
    """Return the chunks of a text. They cover all of it; the pause before a chunk is the last item of the preceding
    chunk, so that a call that starts with a later chunk starts with speech.

    Args:
        parts: the text's sentences, in order.
        characters: the length of the text.
        max_length: the maximum length of a chunk of more than one sentence.
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
            if len(chunks) < _SINGLE_SENTENCES or part.end - begin > max_length:
                chunks.append(Chunk(first_character=begin, characters=part.first - begin, items=tuple(items)))
                begin, items = part.first, []
        items += part.items
        pause_ms = 0
    if characters or items:
        chunks.append(Chunk(first_character=begin, characters=characters - begin, items=tuple(items)))
    return chunks
