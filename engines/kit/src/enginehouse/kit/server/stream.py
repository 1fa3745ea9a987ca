"""The coalescing writer: whatever a producer has made since the last message goes out as one message.

It is the largest speed-up there is for streamed tokens: a producer that is faster than the wire fills messages instead
of queueing them, and a reader that is slow holds the producer back instead of growing a buffer.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

Delta = TypeVar("Delta")
Merged = TypeVar("Merged")


class CoalescingWriter(Generic[Delta, Merged]):
    """Joins one producer to one stream.

    The consumer iterates over it (`async for message in writer`) on the event loop that made it. The producer is a
    coroutine on that loop (`put`), a thread of its own (`put_blocking`), or a thread that many streams share and that
    must never wait (`offer`). Order is kept, nothing is dropped, and at most `max_pending` deltas wait.

    Args:
        merge: makes one message of one or more deltas, oldest first.
        max_pending: how many deltas may wait for a slow reader before the producer is held back.
    """

    def __init__(self, *, merge: Callable[[list[Delta]], Merged], max_pending: int = 512) -> None:
        if max_pending < 1:
            raise ValueError(f"max_pending {max_pending} must be at least 1")
        self._merge = merge
        self._max_pending = max_pending
        self._loop = asyncio.get_running_loop()
        self._pending: deque[Delta] = deque()
        # Held for every change of the fields below, by the loop and by producer threads, for well under a microsecond.
        self._lock = threading.Lock()
        self._arrived: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._thread_room = threading.Condition(self._lock)
        self._threads_waiting = 0
        self._closed = False
        self._abandoned = False
        self._error: BaseException | None = None

    @property
    def abandoned(self) -> bool:
        """Whether the reader is gone, so that nothing put from now on is ever sent."""
        return self._abandoned

    def offer(self, delta: Delta) -> bool:
        """Adds a delta from any thread without waiting; False if the writer is full or its reader is gone."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the writer is closed; nothing may be put after close()")
            if self._abandoned or len(self._pending) >= self._max_pending:
                return False
            self._pending.append(delta)
            waiter, self._arrived = self._arrived, None
        if waiter is not None:
            self._wake(waiter)
        return True

    async def put(self, delta: Delta) -> bool:
        """Adds a delta on the loop, after waiting for room; False if the reader is gone."""
        while not self.offer(delta):
            if self._abandoned:
                return False
            with self._lock:
                if len(self._pending) < self._max_pending:
                    continue
                if self._room is None:
                    self._room = self._loop.create_future()
                room = self._room
            await asyncio.shield(room)
        return True

    def put_blocking(self, delta: Delta, *, timeout_s: float) -> bool:
        """Adds a delta from a thread other than the loop's, waiting up to `timeout_s` for room.

        Returns False if there was none in time or the reader is gone: the producer then stops, or tries again.
        """
        if self.offer(delta):
            return True
        with self._thread_room:
            self._threads_waiting += 1
            try:
                self._thread_room.wait_for(
                    lambda: self._abandoned or len(self._pending) < self._max_pending, timeout=timeout_s
                )
            finally:
                self._threads_waiting -= 1
        return self.offer(delta)

    def close(self, error: BaseException | None = None) -> None:
        """Ends the stream after what is pending, from any thread; with an error, the consumer raises it at the end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._error = error
            waiter, self._arrived = self._arrived, None
        if waiter is not None:
            self._wake(waiter)

    def __aiter__(self) -> AsyncIterator[Merged]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Merged]:
        try:
            while True:
                with self._lock:
                    batch = list(self._pending)
                    self._pending.clear()
                    closed = self._closed
                    waiter: asyncio.Future[None] | None = None
                    if not batch and not closed:
                        waiter = self._arrived = self._loop.create_future()
                    room, self._room = self._room, None
                    if self._threads_waiting:
                        self._thread_room.notify_all()
                if room is not None and not room.done():
                    room.set_result(None)
                if batch:
                    yield self._merge(batch)
                elif waiter is not None:
                    await waiter
                else:
                    if self._error is not None:
                        raise self._error
                    return
        finally:
            self._abandon()

    def _abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            self._pending.clear()
            room, self._room = self._room, None
            self._thread_room.notify_all()
        if room is not None and not room.done():
            room.set_result(None)

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            _finish(waiter)
        else:
            try:
                self._loop.call_soon_threadsafe(_finish, waiter)
            except RuntimeError:
                # The loop is closed: there is no reader left to wake.
                self._abandon()


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
