"""The router's storage in PostgreSQL: tables, their migrations, and connections."""

from enginehouse.router.database._changes import ChangeReader, Changes
from enginehouse.router.database._driver import (
    DriverConnection,
    driver_connection,
    driver_of,
    driver_transaction,
    notify_by,
)
from enginehouse.router.database._engine import database_url, open_database
from enginehouse.router.database._listen import Listener
from enginehouse.router.database._migrate import migrate
from enginehouse.router.database._unavailable import DatabaseUnavailable, translate_db_errors

__all__ = [
    "ChangeReader",
    "Changes",
    "DatabaseUnavailable",
    "DriverConnection",
    "Listener",
    "database_url",
    "driver_connection",
    "driver_of",
    "driver_transaction",
    "migrate",
    "notify_by",
    "open_database",
    "translate_db_errors",
]
