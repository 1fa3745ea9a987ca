"""The distinction between PostgreSQL's absence and a defect of ours, in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import asyncpg  # type: ignore[import-untyped]
import sqlalchemy as sa

# Connection trouble, resources, operator intervention, and conflicts that a later try would not meet.
_PASSING = ("08", "53", "57", "40")


class DatabaseUnavailable(Exception):
    """PostgreSQL does not answer, or not in time."""


@contextlib.contextmanager
def translate_db_errors() -> Iterator[None]:
    """Raise DatabaseUnavailable for the driver's errors while PostgreSQL is down, starting, stopping or too slow."""
    try:
        yield
    except (OSError, TimeoutError, sa.exc.TimeoutError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailable(type(error).__name__) from error
    except (sa.exc.DBAPIError, asyncpg.PostgresError) as error:
        driver = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        state = str(getattr(driver, "sqlstate", None) or "")
        lost = isinstance(error, sa.exc.InterfaceError) or getattr(error, "connection_invalidated", False)
        if lost or state.startswith(_PASSING):
            raise DatabaseUnavailable(type(driver).__name__) from error
        raise
