"""Connections to PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from enginehouse.kit.config import ConfigError


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
    return create_async_engine(
        database_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        # A restarted PostgreSQL leaves dead connections behind: find out before a statement does.
        pool_pre_ping=True,
        connect_args={
            "timeout": 5,
            "command_timeout": statement_s,
            "server_settings": {"application_name": "enginehouse"},
        },
    )
