"""Brings a database to the tables that this version needs."""

from __future__ import annotations

import pathlib

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.ext.asyncio import AsyncEngine

# Any constant that nothing else in the database locks: routers that start together migrate one after the other.
_LOCK = 0x656E67696E65


async def migrate(database: AsyncEngine) -> None:
    """Upgrades to the newest revision, in one transaction. Does nothing when it is there already."""
    async with database.begin() as connection:
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        await connection.run_sync(_upgrade)


def _upgrade(connection: sa.Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
