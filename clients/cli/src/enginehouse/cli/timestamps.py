"""Timestamps as people write and read them, in UTC."""

from __future__ import annotations

import datetime
from typing import Any

import typer

from enginehouse.cli.values import shorten


class Timestamp:
    """Parser of a date, or of a date and a time."""

    __name__ = "timestamp"

    def __call__(self, given: Any) -> datetime.datetime:
        """Return the time that a text stands for.

        Raises:
            typer.BadParameter: it stands for none.
        """
        if isinstance(given, datetime.datetime):
            return given
        try:
            return datetime.datetime.fromisoformat(str(given).strip())
        except ValueError:
            raise typer.BadParameter(
                f"{shorten(given)} must be a date, such as 2026-01-31, or a date and a time, such as "
                "2026-01-31T18:30:00"
            ) from None


def timestamp_option(*flags: str, help: str) -> Any:
    """Return an option that takes a date, or a date and a time."""
    return typer.Option(*flags, parser=Timestamp(), metavar="<time>", help=help)


def milliseconds(timestamp: datetime.datetime | None) -> int:
    """Return a timestamp, in UTC unless it has a time zone, as milliseconds since 1970; 0 for None."""
    return 0 if timestamp is None else int(_in_utc(timestamp).timestamp() * 1000)


def period_milliseconds(since: datetime.datetime | None, until: datetime.datetime | None) -> tuple[int, int]:
    """Return `--since` and `--until` as milliseconds. Raise ValueError if the one is after the other."""
    if since is not None and until is not None and since > until:
        raise ValueError(f"--until {until} is before --since {since}; give a later time, or swap the two")
    return flag_milliseconds(since, "--since"), flag_milliseconds(until, "--until")


def flag_milliseconds(timestamp: datetime.datetime | None, flag: str) -> int:
    """Return the time of a flag as milliseconds, 0 for None. Raise ValueError for one before 1970."""
    if timestamp is not None and timestamp.year < 1970:
        raise ValueError(f"{flag} {timestamp} is before 1970; give a later time")
    return milliseconds(timestamp)


def day_and_time(ms: int) -> str:
    """Return milliseconds since 1970 as date and time."""
    return f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"


def _in_utc(timestamp: datetime.datetime) -> datetime.datetime:
    return timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=datetime.UTC)
