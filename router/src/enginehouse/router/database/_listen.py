"""Notifications of other replicas' changes, within milliseconds of their commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.tasks import BackgroundTask

_log = logging.getLogger(__name__)

_PROBE_S = 2.0
_MAX_BACKOFF_S = 2.0


class Listener:
    """Holds one connection that LISTENs, and calls a handler with each payload.

    Notifications sent while the connection was away are lost, so `on_connect` runs after every (re)connection, before
    any handler: it must reload what the handlers would have kept current.
    """

    def __init__(
        self,
        *,
        database: AsyncEngine,
        handlers: Mapping[str, Callable[[str], None]],
        on_connect: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._on_connect = on_connect
        self._task = BackgroundTask(self._run, name="database-listener")
        self.connected = False
        """True while every change is notified as it commits."""

    def start(self) -> None:
        """Start listening, for as long as it takes PostgreSQL to come."""
        self._task.start()

    async def close(self) -> None:
        """Stop listening."""
        await self._task.close()

    async def _run(self) -> None:
        backoff = 0.1
        while True:
            try:
                async with self._database.connect() as connection:
                    await self._listen(connection)
            except Exception as error:
                _log.warning("lost the notification channel; reconnecting", extra={"error": type(error).__name__})
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _MAX_BACKOFF_S)

    async def _listen(self, connection: Any) -> None:
        raw = await connection.get_raw_connection()
        driver = raw.driver_connection
        gone = asyncio.Event()

        def ended(_: object) -> None:
            gone.set()

        def heard(_driver: object, _pid: int, channel: str, payload: object) -> None:
            self._handlers[channel](str(payload))

        driver.add_termination_listener(ended)
        try:
            for channel in self._handlers:
                await driver.add_listener(channel, heard)
            await self._on_connect()
            self.connected = True
            while not gone.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(gone.wait(), _PROBE_S)
                # A peer that vanished without a FIN is noticed only by asking.
                await driver.fetchval("SELECT 1", timeout=_PROBE_S)
        finally:
            self.connected = False
            # The connection must not go back to the pool while it listens.
            await connection.invalidate()


async def notify(connection: Any, channel: str, payload: str) -> None:
    """Send a payload to every listener when the connection's transaction commits."""
    await connection.execute(sa.text("SELECT pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})
