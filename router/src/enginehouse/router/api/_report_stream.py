"""One engine's stream of reports: what is being settled, and the acknowledgements that are ready."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from enginehouse.api.router.v1 import usage_pb2

_Status = usage_pb2.ReportResponse.Status
_MAX_IN_FLIGHT = 2048
_MAX_JOINED = 512


class ReportStream:
    """Acknowledgements in the order in which they become ready, many in a message: it costs more than what is in it.

    Iterating yields messages until the stream ends, and then raises what it failed with, if it did.
    """

    def __init__(self) -> None:
        self._ready: deque[tuple[int, usage_pb2.ReportResponse.Status.ValueType, str]] = deque()
        self._changed = asyncio.Event()
        self._fewer = asyncio.Event()
        self._in_flight = 0
        self._over = False
        self._failure: BaseException | None = None

    def began(self, count: int) -> None:
        """So many reports are being settled."""
        self._in_flight += count

    def ended(self, count: int) -> None:
        """So many are not any more."""
        self._in_flight -= count
        self._fewer.set()

    async def room(self) -> None:
        """Wait until the engine may report more."""
        await self._at_most(_MAX_IN_FLIGHT - 1)

    async def idle(self) -> None:
        """Wait until nothing is being settled."""
        await self._at_most(0)

    def answer(self, sequence: int, status: usage_pb2.ReportResponse.Status.ValueType, reason: str = "") -> None:
        """Acknowledge a report."""
        self._ready.append((sequence, status, reason))
        self._changed.set()

    def end(self) -> None:
        """End the stream after what is ready."""
        self._over = True
        self._changed.set()

    def fail(self, error: BaseException) -> None:
        """End it with an error after what is ready."""
        self._failure = self._failure or error
        self.end()

    async def __aiter__(self) -> AsyncIterator[usage_pb2.ReportResponse]:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._ready:
                yield self._next()
            if self._over:
                if self._failure is not None:
                    raise self._failure
                return

    def _next(self) -> usage_pb2.ReportResponse:
        sequence, status, reason = self._ready.popleft()
        response = usage_pb2.ReportResponse(sequence=sequence, status=status, reason=reason, takes_batches=True)
        more = response.more
        for _ in range(min(len(self._ready), _MAX_JOINED)):
            sequence, status, reason = self._ready.popleft()
            more.add(sequence=sequence, status=status, reason=reason)
        return response

    async def _at_most(self, count: int) -> None:
        while self._in_flight > count:
            self._fewer.clear()
            await self._fewer.wait()
