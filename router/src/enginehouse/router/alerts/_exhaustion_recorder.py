"""The alert of 100 % for budgets that refuse requests.

A budget that has passed all its lower percentages is in effect spent, though some nano-dollars, less than a request's
bound, are left of it for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import sqlalchemy as sa
from cachetools import TTLCache
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.tasks import TaskSet
from enginehouse.router.alerts._raise import ALERTS_CHANNEL
from enginehouse.router.clock import Clock
from enginehouse.router.database import DatabaseUnavailable, translate_db_errors
from enginehouse.router.database._listen import notify
from enginehouse.router.ids import new_id

_log = logging.getLogger(__name__)

# A budget refuses thousands of times once it is spent; PostgreSQL is asked about it this often at most.
_PAUSE_S = 2.0
_MAX_RECENT = 100_000

_INSERT = sa.text(
    """
    INSERT INTO budget_alerts (alert_id, budget_id, window_start_ms, percent, limit_nanos, settled_nanos, cause,
                               raised_at_ms)
    SELECT :alert_id, w.budget_id, w.window_start_ms, 100, w.limit_nanos, w.settled_nanos, 'refusal', :now_ms
    FROM budget_windows w JOIN budgets b USING (budget_id)
    WHERE w.budget_id = :budget_id AND w.window_start_ms = :start AND 100 = ANY(b.alert_percents)
      AND w.settled_nanos * 100::numeric >= w.limit_nanos::numeric
          * (SELECT coalesce(max(percent), 0) FROM unnest(b.alert_percents) AS lower (percent) WHERE percent < 100)
    ON CONFLICT (budget_id, window_start_ms, percent) DO NOTHING
    """
)


class ExhaustionRecorder:
    """Raises the alert of 100 % for budgets that refuse, on one replica."""

    def __init__(self, *, database: AsyncEngine, clock: Clock, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._recent: TTLCache[tuple[str, int], None] = TTLCache(_MAX_RECENT, _PAUSE_S, timer=monotonic)
        self._tasks = TaskSet()

    def refused(self, budget_id: str, window_start_ms: int) -> None:
        """Note that a budget could not pay. Returns at once."""
        window = budget_id, window_start_ms
        if window in self._recent:
            return
        self._recent[window] = None
        self._tasks.spawn(self._consider(budget_id, window_start_ms), name="budget-exhausted")

    async def close(self) -> None:
        """Cancel the writes that are under way."""
        await self._tasks.close()

    async def _consider(self, budget_id: str, window_start_ms: int) -> None:
        values = {
            "alert_id": new_id("alr"),
            "budget_id": budget_id,
            "start": window_start_ms,
            "now_ms": self._clock(),
        }
        try:
            with translate_db_errors():
                async with self._database.begin() as connection:
                    if (await connection.execute(_INSERT, values)).rowcount:
                        await notify(connection, ALERTS_CHANNEL, "")
        except DatabaseUnavailable:
            # The next refusal asks again.
            self._recent.pop((budget_id, window_start_ms), None)
        except Exception:
            _log.exception("could not raise an alert", extra={"budget_id": budget_id})
