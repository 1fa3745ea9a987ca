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


class SteadyClock:
    """The machine's clock, except that it never goes back.

    What has been told stays true: a grant, a window or a price that has begun cannot be about to begin again. After a
    step back it goes on from where it was, a tenth slower, until the machine's clock has caught up; a step forward it
    follows at once. Restart the process to give up the difference.

    Args:
        wall_ns: nanoseconds since 1970 UTC; may step either way.
        monotonic_ns: nanoseconds since any moment; never steps.
    """

    __slots__ = ("_monotonic_ns", "_told_at_ns", "_told_ns", "_wall_ns")

    def __init__(
        self, *, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        self._told_ns = wall_ns()
        self._told_at_ns = monotonic_ns()

    def __call__(self) -> int:
        """Milliseconds since 1970 UTC."""
        at = self._monotonic_ns()
        wall = self._wall_ns()
        least = self._told_ns + (at - self._told_at_ns) * 9 // 10
        self._told_ns = told = wall if wall > least else least
        self._told_at_ns = at
        return told // 1_000_000

    @property
    def ahead_s(self) -> float:
        """Seconds that it is ahead of the machine's clock, which was put back."""
        return max(0.0, (self() * 1_000_000 - self._wall_ns()) / 1e9)


def day_start_ms(now_ms: int) -> int:
    """The start of the UTC day that holds this moment."""
    return now_ms - now_ms % DAY_MS


def month_start_ms(now_ms: int) -> int:
    """The start of the UTC month that holds this moment."""
    return _month_of_day(now_ms // DAY_MS)


@functools.lru_cache(maxsize=8)
def _month_of_day(day: int) -> int:
    return (day - (time.gmtime(day * DAY_MS // 1000).tm_mday - 1)) * DAY_MS
