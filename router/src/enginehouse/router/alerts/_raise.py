"""Raising alerts, in the transaction that moves the money: they commit with it, and a unique row makes each single."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from enginehouse.router.database import DriverConnection, notify_by
from enginehouse.router.ids import new_id

# Notified, with nothing, when there are alerts to deliver.
ALERTS_CHANNEL = "enginehouse_alerts"


@dataclasses.dataclass(frozen=True, slots=True)
class Crossing:
    """A budget's window, and the percentage of its limit that settled spend has reached. Nano-dollars."""

    budget_id: str
    window_start_ms: int
    percent: int
    limit_nanos: int
    settled_nanos: int


def crossed(*, before: int, after: int, limit: int, percents: Iterable[int]) -> list[int]:
    """The percentages of the limit that spend passed or reached on its way from one amount to another."""
    return [percent for percent in percents if before * 100 < limit * percent <= after * 100]


_INSERT = """
    INSERT INTO budget_alerts (alert_id, budget_id, window_start_ms, percent, limit_nanos, settled_nanos, cause,
                               raised_at_ms)
    SELECT alert_id, budget_id, start, percent, limit_nanos, settled_nanos, 'spend', $7::bigint
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::bigint[], $6::bigint[])
      AS new (alert_id, budget_id, start, percent, limit_nanos, settled_nanos)
    ON CONFLICT (budget_id, window_start_ms, percent) DO NOTHING RETURNING 1
    """


async def raise_alerts(driver: DriverConnection, crossings: Sequence[Crossing], *, now_ms: int) -> None:
    """Raise the alerts that were not raised before. The caller holds the windows' locks."""
    if not crossings:
        return
    ordered = sorted(crossings, key=lambda crossing: (crossing.budget_id, crossing.window_start_ms, crossing.percent))
    raised = await driver.fetch(
        _INSERT,
        [new_id("alr") for _ in ordered],
        [crossing.budget_id for crossing in ordered],
        [crossing.window_start_ms for crossing in ordered],
        [crossing.percent for crossing in ordered],
        [crossing.limit_nanos for crossing in ordered],
        [crossing.settled_nanos for crossing in ordered],
        now_ms,
    )
    if raised:
        await notify_by(driver, ALERTS_CHANNEL, "")
