"""Connections that PostgreSQL has ended are replaced before a statement meets them."""

from __future__ import annotations

import asyncpg  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.database import driver_connection, driver_transaction
from router.tests.harness.waiting import wait_for


async def _backend(database: AsyncEngine) -> int:
    async with database.connect() as connection:
        return int((await connection.execute(sa.text("SELECT pg_backend_pid()"))).scalar_one())


async def test_a_connection_that_was_ended_is_replaced(database: AsyncEngine, database_uri: str) -> None:
    backend = await _backend(database)
    async with driver_connection(database) as driver:
        assert await driver.fetchval("SELECT pg_backend_pid()") == backend
        held = driver
    other = await asyncpg.connect(database_uri)
    await other.execute("SELECT pg_terminate_backend($1)", backend)
    await other.close()
    await wait_for(held.is_closed)
    assert await _backend(database) != backend


async def test_a_refused_statement_leaves_the_connection_and_nothing_of_its_transaction(database: AsyncEngine) -> None:
    async with driver_connection(database) as driver:
        backend = await driver.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(asyncpg.UniqueViolationError):
        async with driver_connection(database) as driver, driver_transaction(driver):
            for _ in range(2):
                await driver.execute("INSERT INTO engines (engine_id) VALUES ('twice')")
    async with driver_connection(database) as driver:
        assert await driver.fetchval("SELECT pg_backend_pid()") == backend
        assert await driver.fetchval("SELECT count(*) FROM engines") == 0


async def test_another_failure_ends_the_connection_and_its_transaction(database: AsyncEngine) -> None:
    with pytest.raises(RuntimeError):
        async with driver_connection(database) as driver, driver_transaction(driver):
            await driver.execute("INSERT INTO engines (engine_id) VALUES ('lost')")
            raise RuntimeError
    assert driver.is_closed()
    async with driver_connection(database) as driver:
        assert await driver.fetchval("SELECT count(*) FROM engines") == 0
