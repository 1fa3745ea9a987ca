"""The time, as a collaborator, so that tests can move it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

# Milliseconds since 1970 UTC.
Clock = Callable[[], int]

DAY_MS = 86_400_000


def wall_clock() -> int:
    """The machine's clock, in milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


def day_start_ms(now_ms: int) -> int:
    """The start of the UTC day that holds this moment."""
    return now_ms - now_ms % DAY_MS


def month_start_ms(now_ms: int) -> int:
    """The start of the UTC month that holds this moment."""
    return _month_of_day(now_ms // DAY_MS)


@functools.lru_cache(maxsize=8)
def _month_of_day(day: int) -> int:
    return (day - (time.gmtime(day * DAY_MS // 1000).tm_mday - 1)) * DAY_MS
