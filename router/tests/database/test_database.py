"""The tables, their migrations, and the rules that the database itself keeps."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.config import ConfigError
from enginehouse.router.database import database_url, migrate
from enginehouse.router.database._migrate import HEAD, alembic_config
from enginehouse.router.database.tables import metadata
from router.tests.harness.ledger import LedgerHarness


def test_the_newest_revision_is_the_one_that_is_looked_for() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]


async def test_migrations_make_exactly_the_tables_that_the_code_uses(database: AsyncEngine) -> None:
    def differences(connection: sa.Connection) -> object:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_and_at_the_same_time_changes_nothing(database: AsyncEngine) -> None:
    await asyncio.gather(*(migrate(database) for _ in range(4)))
    async with database.connect() as connection:
        versions = await connection.execute(sa.text("SELECT version_num FROM alembic_version"))
        assert [row.version_num for row in versions] == [HEAD]


async def test_the_database_itself_refuses_an_overspent_budget(harness: LedgerHarness, database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await connection.execute(
            sa.text(
                "INSERT INTO budgets (budget_id, tenant_id, scope, scope_id, period, limit_nanos, created_at_ms,"
                " deleted_at_ms) VALUES ('b', 'ten_test', 'key', 'k', 'lifetime', 100, 1, 0)"
            )
        )
        await connection.execute(sa.text("INSERT INTO budget_windows VALUES ('b', 0, 100, 60, 40)"))
    over = ("settled_nanos = 61", "leased_nanos = 41", "settled_nanos = 9223372036854775807", "leased_nanos = -1")
    for change in over:
        with pytest.raises(sa.exc.IntegrityError):
            async with database.begin() as connection:
                await connection.execute(sa.text(f"UPDATE budget_windows SET {change}"))


@pytest.mark.parametrize("text", ["", "mysql://x/y", "not a url with:secret@"])
def test_a_bad_database_url_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        database_url(text)
    assert "secret" not in str(refused.value)
