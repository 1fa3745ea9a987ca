"""Admission to a model: a bounded number of calls run, a bounded number wait in order, and more are refused at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from enginehouse.kit.errors import Reason, ServiceError

# How long a call that a full queue would refuse waits for a slot. A slot is given back a moment after the last byte has
# been read, and callers who send one call after the other, as many as there are slots, are never refused for that.
_MOMENT_S = 0.25


class Slots:
    """A bounded queue before a bounded number of slots.

    Args:
        capacity: how many calls run at once.
        queue_limit: how many may wait for a slot.
        retry_after_s: returns the seconds after which a refused caller should try again.
        pause: returns after that many seconds.
    """

    def __init__(
        self,
        *,
        capacity: int,
        queue_limit: int,
        retry_after_s: Callable[[], float] = lambda: 1.0,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if capacity < 1 or queue_limit < 0:
            raise ValueError(
                f"invalid slots: capacity {capacity} must be at least 1 and queue_limit {queue_limit} at least 0"
            )
        self._capacity = capacity
        self._queue_limit = queue_limit
        self._retry_after_s = retry_after_s
        self._pause = pause
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.active = 0
        """The number of calls that hold a slot."""

    @property
    def queued(self) -> int:
        """The number of calls that wait for a slot."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Hold a slot, after waiting for one in order of arrival.

        Raises:
            ServiceError: ENGINE_BUSY with RetryInfo if the queue is full.
        """
        await self.take()
        try:
            yield
        finally:
            self.give()

    async def take(self) -> None:
        """Take a slot, as `hold` does; the caller gives it back.

        Raises:
            ServiceError: ENGINE_BUSY with RetryInfo if the queue is full.
        """
        if self.active < self._capacity and not self._waiting:
            self.active += 1
            return
        if len(self._waiting) >= max(self._queue_limit, self._capacity):
            raise self._busy()
        briefly = len(self._waiting) >= self._queue_limit
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            if briefly and not await self._comes(turn):
                raise self._busy()
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                # The slot came in the same instant; pass it on.
                self.give()
            else:
                self._waiting.remove(turn)
            raise

    async def _comes(self, turn: asyncio.Future[None]) -> bool:
        """Wait a moment for a turn; return whether it came."""
        moment: asyncio.Future[Any] = asyncio.ensure_future(self._pause(_MOMENT_S))
        try:
            await asyncio.wait([turn, moment], return_when=asyncio.FIRST_COMPLETED)
        finally:
            moment.cancel()
        return turn.done()

    def _busy(self) -> ServiceError:
        return ServiceError(
            Reason.ENGINE_BUSY,
            f"the engine is busy: {self.active} requests run and {len(self._waiting)} wait; retry later",
            retry_after_s=self._retry_after_s(),
        )

    def give(self) -> None:
        """Give a slot back to whoever waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.active -= 1
