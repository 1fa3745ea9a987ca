"""Changes of what is held in memory: told from the reads that they overtook, and read until a read succeeds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import TypeVar

from enginehouse.kit.tasks import TaskSet
from enginehouse.router.database._unavailable import DatabaseUnavailable, translate_db_errors

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 1.0

T = TypeVar("T")


class Changes:
    """Counts the changes of an index's entries, so that what was read before a change never replaces it.

    The entries' own counts are kept only while something is read, so they take no memory otherwise.
    """

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[str, int] = {}
        self._readers = 0
        self._whole = asyncio.Lock()

    def note(self, entry_id: str) -> None:
        """Note that an entry changed: it was written, or a notification says so."""
        self._count += 1
        if self._readers:
            self._last[entry_id] = self._count

    async def latest(self, entry_id: str, read: Callable[[], Awaitable[T]]) -> T:
        """Read an entry until it doesn't change during the read. Raises what the last read raises.

        The caller must apply the result before it awaits anything. The number of reads has no limit: a last one that
        was overtaken would be as stale as those before it. Only a change of this entry makes another read necessary.
        """
        return await self.latest_of(lambda _: {entry_id}, read, wanted=frozenset({entry_id}))

    async def latest_of(
        self,
        entries: Callable[[T], AbstractSet[str]],
        read: Callable[[], Awaitable[T]],
        *,
        wanted: frozenset[str] = frozenset(),
    ) -> T:
        """Read until none of the entries that `entries` names of the result changes meanwhile, as `latest` does."""
        with self._reading():
            while True:
                before = self._count
                try:
                    found = await read()
                except Exception:
                    # It says nothing about a newer state of what was wanted.
                    if self._since(before).isdisjoint(wanted):
                        raise
                    continue
                if self._since(before).isdisjoint(entries(found)):
                    return found

    async def whole(self, read: Callable[[], Awaitable[T]]) -> tuple[T, frozenset[str]]:
        """Read all entries at once; return them with the ids of those that changed meanwhile.

        The caller must apply the result before it awaits anything, and keep the changed entries as it has them:
        whatever noted their change has put them there, or reads them. One such reading ends before the next begins, so
        an older one never replaces a newer one; and it ends however often entries change.
        """
        async with self._whole:
            with self._reading():
                before = self._count
                found = await read()
                return found, self._since(before)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._last.clear()

    def _since(self, count: int) -> frozenset[str]:
        return frozenset(entry_id for entry_id, last in self._last.items() if last > count)


class ChangeReader:
    """Reads in the background what a notification says has changed, again and again until a read succeeds.

    A change that comes while its entry is read makes it be read once more.

    Args:
        read: reads an entry and puts it where it belongs.
        what: names an entry in logs, such as "key".
        failed: called with an entry whose read failed, and of which nothing is certain until one succeeds.
        pause: returns after that many seconds.
    """

    def __init__(
        self,
        *,
        read: Callable[[str], Awaitable[object]],
        what: str,
        failed: Callable[[str], None] = lambda _: None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._read = read
        self._what = what
        self._failed = failed
        self._pause = pause
        self._again: dict[str, bool] = {}
        self._tasks = TaskSet()

    def changed(self, entry_id: str) -> None:
        """Read an entry, because it changed."""
        if entry_id in self._again:
            self._again[entry_id] = True
            return
        self._again[entry_id] = True
        self._tasks.spawn(self._follow(entry_id), name=f"{self._what}-refresh")

    async def close(self) -> None:
        """Cancel the reads that are under way."""
        await self._tasks.close()

    async def _follow(self, entry_id: str) -> None:
        pause = _FIRST_PAUSE_S
        try:
            while self._again[entry_id]:
                self._again[entry_id] = False
                try:
                    with translate_db_errors():
                        await self._read(entry_id)
                    pause = _FIRST_PAUSE_S
                except Exception as error:
                    self._failed(entry_id)
                    self._again[entry_id] = True
                    known = isinstance(error, DatabaseUnavailable)
                    _log.warning(
                        "could not read what changed; trying again",
                        extra={"what": self._what, "entry": entry_id, "error": str(error)},
                        exc_info=None if known else error,
                    )
                    await self._pause(pause)
                    pause = min(2 * pause, _MAX_PAUSE_S)
        finally:
            del self._again[entry_id]
