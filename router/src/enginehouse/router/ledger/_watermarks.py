"""Watermarks that wait to be noted: those of all engines that come within a while share one statement."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from enginehouse.router.ledger._store import Watermark
from enginehouse.router.ledger._terms import LedgerUnavailable

_log = logging.getLogger(__name__)


class WatermarkQueue:
    """Watermarks in the order in which they came.

    The first is noted at once, and after each statement the next waits until `gather_s` have passed since it began:
    every engine sends one a second, and the money of lost grants lapses no sooner for hearing of each apart.

    Args:
        note: notes watermarks, at most one of each engine. Raises LedgerUnavailable.
        gather_s: seconds between the beginnings of two statements.
        monotonic: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        note: Callable[[Sequence[Watermark]], Awaitable[None]],
        gather_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._note = note
        self._gather_s = gather_s
        self._monotonic = monotonic
        self._waiting: list[tuple[Watermark, asyncio.Future[None]]] = []
        self._came = asyncio.Event()

    def put(self, mark: Watermark) -> asyncio.Future[None]:
        """Queue a watermark; the future is done once it is committed, and fails with LedgerUnavailable."""
        noted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((mark, noted))
        self._came.set()
        return noted

    async def run(self) -> None:
        """Note what comes, for ever."""
        began = float("-inf")
        while True:
            await self._came.wait()
            await asyncio.sleep(max(0.0, began + self._gather_s - self._monotonic()))
            began = self._monotonic()
            await self._note_batch()

    async def _note_batch(self) -> None:
        batch: dict[str, tuple[Watermark, asyncio.Future[None]]] = {}
        later = []
        for waiting in self._waiting:
            # A second one of an engine, after a new stream of it, has to follow the first.
            if waiting[0].engine_id in batch:
                later.append(waiting)
            else:
                batch[waiting[0].engine_id] = waiting
        self._waiting = later
        if not later:
            self._came.clear()
        error: Exception | None = None
        try:
            await self._note([mark for mark, _ in batch.values()])
        except LedgerUnavailable as unavailable:
            error = unavailable
        except Exception as defect:
            _log.exception("watermarks could not be noted")
            error = defect
        for _, noted in batch.values():
            if noted.done():
                continue
            if error is None:
                noted.set_result(None)
            else:
                noted.set_exception(error)
