"""Changes of what is held in memory, told from reads that they overtook."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Changes:
    """Counts the changes of an index's entries, so that what was read before a change never replaces it.

    The entries' own counts are kept only while something is read, so they take no memory otherwise.
    """

    def __init__(self) -> None:
        self.count = 0
        """Rises with every change of any entry."""
        self._last: dict[str, int] = {}
        self._reading = 0

    def note(self, entry_id: str) -> None:
        """Note that an entry changed: it was written, or a notification says so."""
        self.count += 1
        if self._reading:
            self._last[entry_id] = self.count

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the entries' counts while the block reads."""
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1
            if not self._reading:
                self._last.clear()

    def since(self, count: int, entry_id: str) -> bool:
        """Return whether the entry changed after `count`. Only within `reading`."""
        return self._last.get(entry_id, 0) > count

    async def latest(self, entry_id: str, read: Callable[[], Awaitable[T]]) -> T:
        """Read an entry until it doesn't change during the read. Raises what the last read raises.

        The caller must apply the result before it awaits anything. The number of reads has no limit: a last one that
        was overtaken would be as stale as those before it. Only a change of this entry makes another read necessary.
        """
        with self.reading():
            while True:
                before = self.count
                try:
                    found = await read()
                except Exception:
                    # It says nothing about the newer state.
                    if self.since(before, entry_id):
                        continue
                    raise
                if not self.since(before, entry_id):
                    return found
