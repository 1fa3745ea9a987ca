"""Timestamps as people write and read them, in UTC."""

from __future__ import annotations

import datetime


def milliseconds(timestamp: datetime.datetime | None) -> int:
    """Return a UTC timestamp without time zone as milliseconds since 1970; 0 for None."""
    return 0 if timestamp is None else int(timestamp.replace(tzinfo=datetime.UTC).timestamp() * 1000)


def day_and_time(ms: int) -> str:
    """Return milliseconds since 1970 as date and time."""
    return f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"
