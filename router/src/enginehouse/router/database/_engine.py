"""Connections to PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from enginehouse.kit.config import ConfigError

# A connection that was used so lately is not asked whether it is there.
_TRUSTED_S = 1.0


def database_url(text: str) -> sa.URL:
    """The URL for our driver of a `postgresql://` URL as other programs write it.

    Raises ConfigError, without the URL (it may hold a password), when it is not one of PostgreSQL.
    """
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ConfigError("the database URL cannot be read; write postgresql://user:password@host:port/name") from None
    if url.get_backend_name() not in {"postgresql", "postgres"}:
        raise ConfigError(f"the database URL names {url.get_backend_name()!r}; the ledger needs postgresql://")
    return url.set(drivername="postgresql+asyncpg")


def open_database(url: str, *, pool_size: int = 8, statement_s: float = 10.0) -> AsyncEngine:
    """An engine with a bounded pool. It connects on first use, so this succeeds while PostgreSQL is away.

    `statement_s` is how long PostgreSQL may take over one statement, or one piece of a long answer.
    """
    database = create_async_engine(
        database_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        # The one used last has the plans and the caches.
        pool_use_lifo=True,
        connect_args={
            "timeout": 5,
            "command_timeout": statement_s,
            "server_settings": {"application_name": "enginehouse"},
        },
    )
    check_idle_connections(database)
    return database


def check_idle_connections(
    database: AsyncEngine, *, trusted_s: float = _TRUSTED_S, monotonic: Callable[[], float] = time.monotonic
) -> None:
    """Replace connections that a restarted PostgreSQL left dead before a statement finds out.

    One that is seen to be closed is replaced at once. Only one that has been idle for longer than `trusted_s` is asked:
    that takes three round trips, as long as a settlement takes.
    """
    pool, dialect = database.sync_engine.pool, database.dialect

    def returned(_: object, record: ConnectionPoolEntry) -> None:
        record.info["returned_at"] = monotonic()

    def taken(connection: DBAPIConnection, record: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        returned_at = record.info.get("returned_at")
        if returned_at is None:
            # It was opened just now.
            return
        driver = record.driver_connection
        if driver is None or driver.is_closed():
            raise sa.exc.InvalidatePoolError("the connection is closed")
        if monotonic() - returned_at > trusted_s and not _answers(dialect, connection):
            raise sa.exc.InvalidatePoolError("the connection does not answer")

    sa.event.listen(pool, "checkin", returned)
    sa.event.listen(pool, "checkout", taken)


def _answers(dialect: sa.Dialect, connection: DBAPIConnection) -> bool:
    try:
        return dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        if dialect.is_disconnect(error, connection, None):
            return False
        raise
