"""Records of answers given from the cache, written as usage that costs nothing.

They are written in batches from memory. A crash loses the hits of the last moment, but no money.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.database.tables import usage

_log = logging.getLogger(__name__)

_WRITE_S = 0.5
_MAX_WAITING = 20_000
_MAX_AT_ONCE = 500


class HitRecorder:
    """Writes cache hits to the usage table.

    Args:
        database: holds the usage table.
        engine_id: the replay endpoint's name in the records.
        service_of: returns the kind of engine that a grant's model runs on.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self, *, database: AsyncEngine, engine_id: str, service_of: Callable[[grant_pb2.Grant, str], str], clock: Clock
    ) -> None:
        self._database = database
        self._engine_id = engine_id
        self._service_of = service_of
        self._clock = clock
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MAX_WAITING)
        self._task = BackgroundTask(self._run, name="cache-hits")
        self._blank = {
            column.name: _nothing(column) for column in usage.columns if column.name != "ordinal" and _plain(column)
        }

    def start(self) -> None:
        """Start writing."""
        self._task.start()

    async def close(self) -> None:
        """Stop, and write the hits that wait."""
        await self._task.close()
        await self._write()

    def record(
        self, grant: grant_pb2.Grant, *, model: str, started_at_ms: int, first_output_ms: int, outcome: str
    ) -> None:
        """Record an answer that was given in whole or in part. It has no units: only an engine's units are billed."""
        principal = grant.principal
        self._waiting.append(
            self._blank
            | {
                "grant_id": grant.grant_id,
                "engine_id": self._engine_id,
                "kind": "report",
                "request_id": grant.request_id,
                "attempt": grant.attempt,
                "tenant_id": principal.tenant_id,
                "key_id": principal.key_id,
                "user_id": principal.user_id,
                "run_id": principal.run_id,
                "model": model,
                "service": self._service_of(grant, model),
                "outcome": "completed" if outcome == "given" else "cancelled",
                "started_at_ms": started_at_ms,
                "ended_at_ms": self._clock(),
                "time_to_first_token_ms": first_output_ms,
                "settled_at_ms": self._clock(),
            }
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_S)
            await self._write()

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_AT_ONCE))]
            try:
                with translate_db_errors():
                    async with self._database.begin() as connection:
                        await connection.execute(insert(usage).on_conflict_do_nothing(), batch)
            except DatabaseUnavailable:
                # Back to the front. If the queue is full, the newest hits fall out.
                self._waiting.extendleft(reversed(batch))
                return
            except Exception:
                _log.exception("could not record cache hits", extra={"count": len(batch)})


def _plain(column: sa.Column[Any]) -> bool:
    return not column.nullable and column.server_default is None


def _nothing(column: sa.Column[Any]) -> Any:
    return 0 if isinstance(column.type, sa.Integer) else ""
