"""Alerts in PostgreSQL: read, and claimed for delivery."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.database.tables import budget_alerts, budgets


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A percentage that a budget reached. Money in nano-dollars, times in milliseconds since 1970 UTC, 0 for never.

    `cause` is "spend" or "refusal"; `delivery` is "pending", "delivered", "failed" or "kept".
    """

    ordinal: int
    alert_id: str
    budget_id: str
    tenant_id: str
    scope: str
    scope_id: str
    period: str
    window_start_ms: int
    percent: int
    limit_nanos: int
    settled_nanos: int
    cause: str
    raised_at_ms: int
    delivery: str
    attempts: int
    delivered_at_ms: int


_COLUMNS = (
    *[column for column in budget_alerts.c if column.name != "due_at"],
    budgets.c.tenant_id, budgets.c.scope, budgets.c.scope_id, budgets.c.period,
)  # fmt: skip

# Whoever claims an alert has until it is due again to deliver it; then another replica may.
_CLAIM = sa.text(
    """
    UPDATE budget_alerts a
    SET attempts = a.attempts + 1,
        due_at = now() + make_interval(secs => least(3600, :retry * power(2, least(a.attempts, 12))))
    FROM (SELECT alert_id FROM budget_alerts WHERE delivery = 'pending' AND due_at <= now()
          ORDER BY due_at LIMIT :count FOR UPDATE SKIP LOCKED) due
    WHERE a.alert_id = due.alert_id
    RETURNING a.alert_id
    """
)


class AlertStore:
    """Every method raises what the driver raises when PostgreSQL is away."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def page(
        self, *, tenant_id: str, budget_id: str, scope_ids: Sequence[str], before: int, count: int
    ) -> list[Alert]:
        """Alerts raised before that ordinal (0: all), newest first; empty filters mean all."""
        query = sa.select(*_COLUMNS).join(budgets, budgets.c.budget_id == budget_alerts.c.budget_id)
        if tenant_id:
            query = query.where(budgets.c.tenant_id == tenant_id)
        if budget_id:
            query = query.where(budget_alerts.c.budget_id == budget_id)
        if scope_ids:
            query = query.where(budgets.c.scope_id.in_(scope_ids))
        if before:
            query = query.where(budget_alerts.c.ordinal < before)
        async with self._database.connect() as connection:
            rows = await connection.execute(query.order_by(budget_alerts.c.ordinal.desc()).limit(count))
            return [Alert(**row._mapping) for row in rows]

    async def claim(self, *, count: int, retry_s: float) -> list[Alert]:
        """Alerts that are due, each for this caller alone until it is due again."""
        async with self._database.begin() as connection:
            claimed = [row.alert_id for row in await connection.execute(_CLAIM, {"count": count, "retry": retry_s})]
            if not claimed:
                return []
            rows = await connection.execute(
                sa.select(*_COLUMNS)
                .join(budgets, budgets.c.budget_id == budget_alerts.c.budget_id)
                .where(budget_alerts.c.alert_id.in_(claimed))
                .order_by(budget_alerts.c.ordinal)
            )
            return [Alert(**row._mapping) for row in rows]

    async def finish(self, alert_id: str, *, delivery: str, now_ms: int) -> None:
        """Record the outcome of an alert's delivery."""
        async with self._database.begin() as connection:
            await connection.execute(
                budget_alerts.update()
                .where(budget_alerts.c.alert_id == alert_id, budget_alerts.c.delivery == "pending")
                .values(delivery=delivery, delivered_at_ms=now_ms if delivery == "delivered" else 0)
            )

    async def next_due_s(self) -> float | None:
        """Seconds until the next alert is due; None when none waits."""
        async with self._database.connect() as connection:
            found = await connection.execute(
                sa.text("SELECT extract(epoch FROM min(due_at) - now()) FROM budget_alerts WHERE delivery = 'pending'")
            )
            seconds = found.scalar_one()
        return None if seconds is None else max(0.0, float(seconds))
