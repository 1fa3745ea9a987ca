"""The log of exposures, written in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.database.tables import exposures
from enginehouse.router.experiments._assignment import Assigned

_log = logging.getLogger(__name__)

_WRITE_S = 0.5
_BATCH = 1000
# About 30 MB. Beyond it the oldest are dropped and counted. An experiment loses data, but no money is lost.
_MAX_WAITING = 100_000


class ExposureLog:
    """Collects exposures in memory and writes them in batches."""

    def __init__(self, *, database: AsyncEngine, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[dict[str, Any]] = deque()
        self._task = BackgroundTask(self._run, name="exposures")
        self.dropped = 0
        """The number of exposures lost because PostgreSQL was away for too long."""

    def record(self, assigned: Assigned, *, grant_id: str, request_id: str, refusal: str = "") -> None:
        """Record a request's exposures; `refusal` is the reason if it was refused."""
        now = self._clock()
        for exposure in assigned.exposures:
            self._waiting.append(
                {
                    "subject_id": exposure.subject_id,
                    "grant_id": grant_id,
                    "arm": exposure.arm,
                    "unit": exposure.unit,
                    "tenant_id": assigned.tenant_id,
                    "request_id": request_id,
                    "refusal": refusal,
                    "exposed_at_ms": now,
                }
            )
        while len(self._waiting) > _MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1

    def start(self) -> None:
        """Start writing."""
        self._task.start()

    async def close(self) -> None:
        """Stop, and write the exposures that wait."""
        await self._task.close()
        with contextlib.suppress(DatabaseUnavailable):
            await self.flush()

    async def flush(self) -> None:
        """Write all exposures that wait. Raises DatabaseUnavailable, and keeps those that were not written."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                with translate_db_errors():
                    async with self._database.begin() as connection:
                        # A batch is written again if its acknowledgement was lost.
                        await connection.execute(insert(exposures).on_conflict_do_nothing(), batch)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                raise

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_S)
            try:
                await self.flush()
            except DatabaseUnavailable:
                continue
            except Exception:
                _log.exception("could not write exposures")
