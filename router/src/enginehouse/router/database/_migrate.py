"""Migration of a database to the tables that this version needs."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

if TYPE_CHECKING:
    from alembic.config import Config

# Any constant that nothing else in the database locks: routers that start together migrate one after the other.
_LOCK = 0x656E67696E65
# The newest revision, as Alembic reads it from the folder; a test compares the two.
HEAD = "0008"


async def migrate(database: AsyncEngine) -> None:
    """Upgrade to the newest revision, in one transaction. Do nothing if it is there already."""
    async with database.begin() as connection:
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        versions = await connection.execute(sa.text("SELECT to_regclass('alembic_version')"))
        if versions.scalar_one() is not None:
            current = await connection.execute(sa.text("SELECT version_num FROM alembic_version"))
            if current.scalar() == HEAD:
                return
        await connection.run_sync(_upgrade)


def _upgrade(connection: sa.Connection) -> None:
    # Loading Alembic takes longer than everything else that an ordinary start does.
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def alembic_config() -> Config:
    """Return Alembic's configuration with the folder of revisions, for its own commands as well."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(pathlib.Path(__file__).parent / "migrations"))
    return config
