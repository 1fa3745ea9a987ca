"""Answers in this router's memory: bounded by bytes, the least recently used give way."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

from enginehouse.router.clock import Clock

# What an entry takes besides its bytes: the key, two objects and their places in the table.
_ENTRY_BYTES = 400


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept: a serialized `Answer`, until when, in milliseconds since 1970 UTC."""

    data: bytes
    expires_at_ms: int


class AnswerMemory:
    """The answers by key.

    Args:
        max_bytes: what they may take together.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(self, *, max_bytes: int, clock: Clock) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        """What they take, roughly."""
        self.evicted = 0
        """How many gave way to others."""
        self._clock = clock
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Kept | None:
        """The answer, if it is still good."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.expires_at_ms <= self._clock():
            self.drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: bytes, kept: Kept) -> bool:
        """Keeps an answer in place of what was there; False if it is larger than everything may be."""
        size = len(kept.data) + _ENTRY_BYTES
        self.drop(key)
        if size > self.max_bytes:
            return False
        self._kept[key] = kept
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= len(oldest.data) + _ENTRY_BYTES
            self.evicted += 1
        return True

    def drop(self, key: bytes) -> None:
        """Forgets an answer."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= len(kept.data) + _ENTRY_BYTES

    def clear(self) -> None:
        """Forgets all of them."""
        self._kept.clear()
        self.bytes = 0
