"""Moments as people write and read them, in UTC."""

from __future__ import annotations

import datetime


def milliseconds(moment: datetime.datetime | None) -> int:
    """Milliseconds since 1970 of a moment written without a zone, which is UTC; 0 for none."""
    return 0 if moment is None else int(moment.replace(tzinfo=datetime.UTC).timestamp() * 1000)


def day_and_time(ms: int) -> str:
    """Milliseconds since 1970 as people read them."""
    return f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S}"
