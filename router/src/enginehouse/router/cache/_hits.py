"""Answers given from the cache, on record as usage that costs nothing.

Written in batches from memory: a crash forgets the last moment's hits, and no money with them.
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
_MOST_WAITING = 20_000
_MOST_AT_ONCE = 500


class HitRecorder:
    """Puts hits on record.

    Args:
        database: where usage is.
        engine_id: what the replay endpoint is called in the records.
        service_of: the kind of engine that made the answers of a model.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self, *, database: AsyncEngine, engine_id: str, service_of: Callable[[grant_pb2.Grant, str], str], clock: Clock
    ) -> None:
        self._database = database
        self._engine_id = engine_id
        self._service_of = service_of
        self._clock = clock
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._task = BackgroundTask(self._run, name="cache-hits")
        self._blank = {
            column.name: _nothing(column) for column in usage.columns if column.name != "ordinal" and _plain(column)
        }

    def start(self) -> None:
        """Begins to write."""
        self._task.start()

    async def close(self) -> None:
        """Writes what waits, and stops."""
        await self._task.close()
        await self._write()

    def note(
        self, grant: grant_pb2.Grant, *, model: str, started_at_ms: int, first_output_ms: int, outcome: str
    ) -> None:
        """Notes an answer that was given, or begun to be given. It used no units: an engine's are what is billed."""
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
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
            try:
                with translate_db_errors():
                    async with self._database.begin() as connection:
                        await connection.execute(insert(usage).on_conflict_do_nothing(), batch)
            except DatabaseUnavailable:
                # Before those that came meanwhile; what does not fit any more is the newest.
                self._waiting.extendleft(reversed(batch))
                return
            except Exception:
                _log.exception("could not put answers from the cache on record", extra={"count": len(batch)})


def _plain(column: sa.Column[Any]) -> bool:
    return not column.nullable and column.server_default is None


def _nothing(column: sa.Column[Any]) -> Any:
    return 0 if isinstance(column.type, sa.Integer) else ""
