"""Transactions on the driver itself, for the statements that every request takes a share of.

SQLAlchemy's compiling, processing and greenlets take several times as long as the driver does for the same statement.
The connections are those of the same pool.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import greenlet_spawn

DriverConnection: TypeAlias = "asyncpg.Connection"


@contextlib.asynccontextmanager
async def driver_connection(database: AsyncEngine) -> AsyncIterator[DriverConnection]:
    """Lend the driver's connection, out of the pool, for statements that each commit by themselves.

    Any error but one of PostgreSQL's own closes the connection: nothing is known of what it does.
    """
    pooled = await database.raw_connection()
    driver: DriverConnection = pooled.driver_connection
    try:
        yield driver
    except BaseException as error:
        if not isinstance(error, asyncpg.PostgresError) or driver.is_closed() or driver.is_in_transaction():
            pooled.invalidate()
        raise
    finally:
        await greenlet_spawn(pooled.close)


@contextlib.asynccontextmanager
async def driver_transaction(driver: DriverConnection, *, planned: str = "") -> AsyncIterator[None]:
    """Begin a transaction, and commit it at the end; roll it back where PostgreSQL refuses a statement.

    Args:
        driver: the connection.
        planned: settings for the transaction, as SQL, which take no round trip of their own.
    """
    await driver.execute(f"BEGIN;{planned}")
    try:
        yield
    except asyncpg.PostgresError:
        if not driver.is_closed():
            await driver.execute("ROLLBACK")
        raise
    await driver.execute("COMMIT")


async def driver_of(connection: AsyncConnection) -> DriverConnection:
    """The driver's connection under one of SQLAlchemy's, in the same transaction."""
    pooled = await connection.get_raw_connection()
    return pooled.driver_connection


async def notify_by(driver: DriverConnection, channel: str, payload: str) -> None:
    """Send a payload to every listener when the driver's transaction commits."""
    await driver.execute("SELECT pg_notify($1, $2)", channel, payload)
