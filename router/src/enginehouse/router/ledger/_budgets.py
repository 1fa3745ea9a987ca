"""Budgets: the bounds on spend, and where they are stored."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from enginehouse.router.alerts import Crossing, crossed, raise_alerts
from enginehouse.router.clock import DAY_MS, day_start_ms, month_start_ms
from enginehouse.router.database import driver_of
from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import budget_windows, budgets

# Notified with a budget's id when it is made, changed or removed.
BUDGETS_CHANNEL = "enginehouse_budgets"


class Scope(enum.StrEnum):
    """The kind of thing that a budget bounds."""

    TENANT = "tenant"
    KEY = "key"
    USER = "user"
    RUN = "run"


class Period(enum.StrEnum):
    """The time after which a budget starts anew, in UTC."""

    LIFETIME = "lifetime"
    DAY = "day"
    MONTH = "month"

    def window_start_ms(self, now_ms: int) -> int:
        """The start of the window that holds this moment; 0 for a lifetime."""
        if self is Period.LIFETIME:
            return 0
        return day_start_ms(now_ms) if self is Period.DAY else month_start_ms(now_ms)

    def window_end_ms(self, now_ms: int) -> int:
        """A moment up to which the window is the same, at most a day away; far in the future for a lifetime."""
        return 2**63 - 1 if self is Period.LIFETIME else day_start_ms(now_ms) + DAY_MS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A bound on spend. Users and runs are named by their tenants, so their `scope_id` is `TENANT_ID/ID`.

    `alert_percents` are the percentages of the limit that raise an alert, ascending; empty means those that a budget
    has anyway. An `automatic` one was made for a run by a key's cap, and is ordinary once somebody sets it.
    """

    budget_id: str
    tenant_id: str
    scope: Scope
    scope_id: str
    period: Period
    limit_nanos: int
    created_at_ms: int
    alert_percents: tuple[int, ...] = ()
    automatic: bool = False
    ordinal: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget with what is spent and held of it in the current window, in nano-dollars."""

    budget: Budget
    settled_nanos: int
    leased_nanos: int


class LimitTooLow(Exception):
    """A limit below what the current window has settled and leased; carries both, in nano-dollars."""

    def __init__(self, *, settled_nanos: int, leased_nanos: int) -> None:
        super().__init__(settled_nanos, leased_nanos)
        self.settled_nanos = settled_nanos
        self.leased_nanos = leased_nanos


class BudgetStore:
    """Budgets in PostgreSQL. Spending them is the ledger's part."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def put(self, budget: Budget, *, now_ms: int, connection: AsyncConnection | None = None) -> Budget:
        """Make the budget, or give the live one of the same scope and period this limit; return it as it is now.

        Raises LimitTooLow when the current window has settled and leased more than the new limit.
        """
        if connection is None:
            async with self._database.begin() as own:
                return await self.put(budget, now_ms=now_ms, connection=own)
        same = sa.and_(
            budgets.c.scope == budget.scope,
            budgets.c.scope_id == budget.scope_id,
            budgets.c.period == budget.period,
            budgets.c.deleted_at_ms == 0,
        )
        # Two callers that make the same budget at once: the second waits here and then finds the first's.
        await connection.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
            {"name": f"{budget.scope}/{budget.scope_id}/{budget.period}"},
        )
        row = (await connection.execute(sa.select(budgets).where(same).with_for_update())).first()
        if row is None:
            inserted = await connection.execute(budgets.insert().values(_values(budget)).returning(*budgets.c))
            row = inserted.one()
        else:
            start = budget.period.window_start_ms(now_ms)
            here = sa.and_(budget_windows.c.budget_id == row.budget_id, budget_windows.c.window_start_ms == start)
            window = (await connection.execute(sa.select(budget_windows).where(here).with_for_update())).first()
            if window is not None:
                if window.settled_nanos + window.leased_nanos > budget.limit_nanos:
                    raise LimitTooLow(settled_nanos=window.settled_nanos, leased_nanos=window.leased_nanos)
                await connection.execute(budget_windows.update().where(here).values(limit_nanos=budget.limit_nanos))
            values: dict[str, object] = {"limit_nanos": budget.limit_nanos, "automatic": False}
            if budget.alert_percents:
                values["alert_percents"] = list(budget.alert_percents)
            changed = await connection.execute(
                budgets.update().where(budgets.c.budget_id == row.budget_id).values(values).returning(*budgets.c)
            )
            row = changed.one()
            if window is not None and window.settled_nanos:
                reached = crossed(
                    before=0, after=window.settled_nanos, limit=budget.limit_nanos, percents=row.alert_percents
                )
                await raise_alerts(
                    await driver_of(connection),
                    [
                        Crossing(row.budget_id, start, percent, budget.limit_nanos, window.settled_nanos)
                        for percent in reached
                    ],
                    now_ms=now_ms,
                )
        await notify(connection, BUDGETS_CHANNEL, row.budget_id)
        return _budget(row)

    async def make(self, budget: Budget) -> Budget:
        """Make an automatic budget, unless there is a live one of the same scope and period; return the one there.

        Nobody is told: whoever needs it comes here.
        """
        made = (
            insert(budgets)
            .values(_values(budget))
            # As text: which index is meant must be known to a plan made before the values are.
            .on_conflict_do_nothing(
                index_elements=["scope", "scope_id", "period"], index_where=sa.text("deleted_at_ms = 0")
            )
            .returning(*budgets.c)
        )
        same = sa.select(budgets).where(
            budgets.c.scope == budget.scope,
            budgets.c.scope_id == budget.scope_id,
            budgets.c.period == budget.period,
            budgets.c.deleted_at_ms == 0,
        )
        while True:
            async with self._database.begin() as connection:
                row = (await connection.execute(made)).first() or (await connection.execute(same)).first()
            # None: it was removed between the two statements, so it can be made now.
            if row is not None:
                return _budget(row)

    async def delete(self, budget_id: str, *, now_ms: int) -> Budget | None:
        """End a budget; None when there is no such live one. Its windows stay, so that late reports still settle."""
        statement = (
            budgets.update()
            .where(budgets.c.budget_id == budget_id, budgets.c.deleted_at_ms == 0)
            .values(deleted_at_ms=now_ms)
            .returning(*budgets.c)
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(statement)).first()
            if row is None:
                return None
            await notify(connection, BUDGETS_CHANNEL, budget_id)
        return _budget(row)

    async def get(self, budget_id: str) -> Budget | None:
        """One live budget."""
        query = sa.select(budgets).where(budgets.c.budget_id == budget_id, budgets.c.deleted_at_ms == 0)
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _budget(row)

    async def of(self, scope: Scope, scope_id: str) -> list[Budget]:
        """The live budgets of a tenant, key, user or run."""
        query = sa.select(budgets).where(
            budgets.c.scope == scope, budgets.c.scope_id == scope_id, budgets.c.deleted_at_ms == 0
        )
        async with self._database.connect() as connection:
            return [_budget(row) for row in await connection.execute(query)]

    async def all_live(self, *, automatic: Sequence[str]) -> list[Budget]:
        """Every budget that was not removed; of the automatic ones, those with these ids."""
        wanted = sa.or_(
            sa.not_(budgets.c.automatic), budgets.c.budget_id == sa.any_(sa.cast(automatic, pg.ARRAY(sa.Text)))
        )
        async with self._database.connect() as connection:
            rows = await connection.execute(sa.select(budgets).where(budgets.c.deleted_at_ms == 0, wanted))
            return [_budget(row) for row in rows]

    async def list_states(
        self, *, tenant_id: str, scope_ids: list[str], after: int, count: int, now_ms: int
    ) -> list[BudgetState]:
        """Live budgets made after that ordinal, oldest first, as they stand now; empty filters mean all."""
        query = sa.select(budgets).where(budgets.c.deleted_at_ms == 0, budgets.c.ordinal > after)
        if tenant_id:
            query = query.where(budgets.c.tenant_id == tenant_id)
        if scope_ids:
            query = query.where(budgets.c.scope_id.in_(scope_ids))
        async with self._database.connect() as connection:
            found = [_budget(row) for row in await connection.execute(query.order_by(budgets.c.ordinal).limit(count))]
            windows = await connection.execute(
                sa.select(budget_windows).where(
                    sa.tuple_(budget_windows.c.budget_id, budget_windows.c.window_start_ms).in_(
                        [(budget.budget_id, budget.period.window_start_ms(now_ms)) for budget in found]
                    )
                )
            )
            by_id = {row.budget_id: row for row in windows}
        return [
            BudgetState(
                budget,
                by_id[budget.budget_id].settled_nanos if budget.budget_id in by_id else 0,
                by_id[budget.budget_id].leased_nanos if budget.budget_id in by_id else 0,
            )
            for budget in found
        ]


def _values(budget: Budget) -> dict[str, object]:
    values = dataclasses.asdict(budget)
    del values["ordinal"]
    if budget.alert_percents:
        values["alert_percents"] = list(budget.alert_percents)
    else:
        del values["alert_percents"]
    return {**values, "deleted_at_ms": 0}


def _budget(row: sa.Row[tuple[object, ...]]) -> Budget:
    values = dict(row._mapping)
    del values["deleted_at_ms"]
    values["scope"], values["period"] = Scope(values["scope"]), Period(values["period"])
    values["alert_percents"] = tuple(values["alert_percents"])
    return Budget(**values)
