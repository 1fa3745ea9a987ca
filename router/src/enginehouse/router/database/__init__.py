"""Where the router keeps what must outlive it: tables, their migrations, and the connection to PostgreSQL."""

from enginehouse.router.database._away import DatabaseAway, answering
from enginehouse.router.database._engine import database_url, open_database
from enginehouse.router.database._listen import Listener
from enginehouse.router.database._migrate import migrate

__all__ = ["DatabaseAway", "Listener", "answering", "database_url", "migrate", "open_database"]
