"""Answers in this router's memory: bounded in bytes, evicted least recently used first."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

from enginehouse.router.clock import Clock

# The bytes that an entry takes besides its data: the key, two objects and their places in the table.
_ENTRY_BYTES = 400


@dataclasses.dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A serialized `Answer` and its expiry in milliseconds since 1970 UTC."""

    data: bytes
    expires_at_ms: int


class AnswerMemory:
    """The answers by key.

    Args:
        max_bytes: the most bytes that they take together.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(self, *, max_bytes: int, clock: Clock) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        """The bytes that they take, roughly."""
        self.evicted = 0
        """The number of answers evicted to make room for others."""
        self._clock = clock
        self._kept: OrderedDict[bytes, CachedAnswer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> CachedAnswer | None:
        """Return the answer, unless it has expired."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.expires_at_ms <= self._clock():
            self.drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: bytes, kept: CachedAnswer) -> bool:
        """Keep an answer, replacing the key's previous one. Returns False if it alone is larger than the bound."""
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
        """Drop an answer."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= len(kept.data) + _ENTRY_BYTES

    def clear(self) -> None:
        """Drop all answers."""
        self._kept.clear()
        self.bytes = 0
