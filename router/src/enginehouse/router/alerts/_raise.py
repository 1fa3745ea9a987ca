"""Raising alerts, in the transaction that moves the money: they commit with it, and a unique row makes each single."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from enginehouse.router.database._listen import notify
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


_INSERT = sa.text(
    """
    INSERT INTO budget_alerts (alert_id, budget_id, window_start_ms, percent, limit_nanos, settled_nanos, cause,
                               raised_at_ms)
    SELECT alert_id, budget_id, start, percent, limit_nanos, settled_nanos, 'spend', :now_ms
    FROM unnest(CAST(:alert_ids AS text[]), CAST(:budget_ids AS text[]), CAST(:starts AS bigint[]),
                CAST(:percents AS int[]), CAST(:limits AS bigint[]), CAST(:settled AS bigint[]))
      AS new (alert_id, budget_id, start, percent, limit_nanos, settled_nanos)
    ON CONFLICT (budget_id, window_start_ms, percent) DO NOTHING
    """
)


async def raise_alerts(connection: AsyncConnection, crossings: Sequence[Crossing], *, now_ms: int) -> None:
    """Raise the alerts that were not raised before. The caller holds the windows' locks."""
    if not crossings:
        return
    ordered = sorted(crossings, key=lambda crossing: (crossing.budget_id, crossing.window_start_ms, crossing.percent))
    raised = await connection.execute(
        _INSERT,
        {
            "alert_ids": [new_id("alr") for _ in ordered],
            "budget_ids": [crossing.budget_id for crossing in ordered],
            "starts": [crossing.window_start_ms for crossing in ordered],
            "percents": [crossing.percent for crossing in ordered],
            "limits": [crossing.limit_nanos for crossing in ordered],
            "settled": [crossing.settled_nanos for crossing in ordered],
            "now_ms": now_ms,
        },
    )
    if raised.rowcount:
        await notify(connection, ALERTS_CHANNEL, "")
