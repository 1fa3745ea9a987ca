"""Clocks that step: time never goes back for a router, and money stays right whatever the clocks do."""

from __future__ import annotations

import asyncio
import random

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.kit.grants import peek
from enginehouse.router.clock import DAY_MS, SteadyClock, day_start_ms, month_start_ms
from enginehouse.router.database import open_database
from enginehouse.router.ledger import InsufficientBudget, Ledger, Period, Scope, Verdict
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.postgres import PostgresCluster

S = 10**9
HOUR_MS = 3_600_000


class Machine:
    """A wall clock that steps and a monotonic one that does not, in nanoseconds."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000 * S
        self.monotonic = 77

    def run(self, ns: int) -> None:
        self.wall += ns
        self.monotonic += ns

    def clock(self) -> SteadyClock:
        return SteadyClock(wall_ns=lambda: self.wall, monotonic_ns=lambda: self.monotonic)


STEPS = st.lists(
    st.tuples(st.integers(0, 40 * S), st.integers(-5 * 3600 * S, 5 * 3600 * S) | st.just(0)), min_size=1, max_size=30
)


@given(STEPS)
def test_a_routers_time_never_goes_back_and_never_stands_still(steps: list[tuple[int, int]]) -> None:
    machine = Machine()
    clock = machine.clock()
    before = clock()
    for ran, stepped in steps:
        machine.run(ran)
        machine.wall += stepped
        now = clock()
        assert now >= before
        assert now - before >= ran * 9 // 10 // 1_000_000 - 1
        assert now >= machine.wall // 1_000_000
        before = now


@given(st.integers(0, 3600 * S), st.lists(st.integers(1, 100 * S), min_size=1, max_size=50))
def test_a_clock_that_is_ahead_is_slowed_by_a_tenth(back: int, runs: list[int]) -> None:
    machine = Machine()
    clock = machine.clock()
    clock()
    machine.wall -= back
    for ran in runs:
        machine.run(ran)
        clock()
    wanted = max(0, back - sum(runs) // 10)
    # Each reading is rounded to a nanosecond, and the last to a millisecond.
    assert abs(clock() * 1_000_000 - machine.wall - wanted) <= 2_000_000
    assert abs(clock.ahead_s - wanted / S) <= 0.002


def test_a_clock_that_is_put_forward_is_followed_at_once() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall += 3600 * S
    assert clock() * 1_000_000 == machine.wall
    assert clock.ahead_s == 0


@given(st.integers(0, 2**43))
def test_windows_hold_the_moments_that_they_are_of(now_ms: int) -> None:
    day, month = day_start_ms(now_ms), month_start_ms(now_ms)
    assert month <= day <= now_ms < day + DAY_MS
    assert now_ms - month < 31 * DAY_MS
    assert day_start_ms(day) == day
    assert month_start_ms(month) == month
    for period in (Period.DAY, Period.MONTH):
        assert period.window_start_ms(now_ms) == period.window_start_ms(period.window_end_ms(now_ms) - 1)


TABLES = "usage, reservations, leases, budget_alerts, budget_windows, budgets, replicas, engines, tenants"


def test_money_stays_right_whatever_a_clock_does(postgres: PostgresCluster) -> None:
    """Not a steady clock: a bare one that jumps by hours, over days' ends, while requests run and are settled late."""
    loop = asyncio.new_event_loop()
    database = open_database(loop.run_until_complete(postgres.create_database()))

    async def play(seed: int) -> None:
        dice = random.Random(seed)
        async with database.begin() as connection:
            await connection.execute(sa.text(f"TRUNCATE {TABLES} CASCADE"))
        harness = LedgerHarness(database)
        await harness.prepare()
        await harness.budget(3_000)
        await harness.budget(900, scope=Scope.TENANT, scope_id=harness.TENANT, period=Period.DAY)
        replicas: list[Ledger] = [await harness.replica() for _ in range(2)]
        out: list[tuple[str, int]] = []
        reported: set[str] = set()
        for _ in range(30):
            ledger = dice.choice(replicas)
            move = dice.random()
            if move < 0.4:
                cap = dice.randint(1, 300)
                try:
                    scopes = (("tenant", harness.TENANT), ("key", harness.KEY))
                    out.append((await harness.grant(ledger, cap, scopes=scopes), dice.randint(0, cap)))
                except InsufficientBudget:
                    pass
            elif move < 0.65 and out:
                token, cost = dice.choice(out)
                (verdict,) = await ledger.settle_now([harness.report(token, cost)])
                assert (verdict is Verdict.ALREADY) == (token in reported)
                reported.add(token)
            elif move < 0.8:
                harness.now_ms += dice.choice([-30, -5, -1, 1, 5, 30]) * HOUR_MS + dice.randint(-20_000, 20_000)
            elif move < 0.9:
                await harness.watermark(ledger, harness.now_ms - 30_000)
                await ledger.flush_journal()
                await ledger.sweep()
            else:
                await ledger.renew()
                await ledger.compare()
                await ledger.return_idle()
            await check(harness, replicas)

    async def check(harness: LedgerHarness, replicas: list[Ledger]) -> None:
        for row in await harness.rows(
            "SELECT b.period, w.limit_nanos, w.settled_nanos, w.leased_nanos,"
            " (SELECT coalesce(sum(remaining_nanos), 0) FROM leases l WHERE l.budget_id = w.budget_id"
            "  AND l.window_start_ms = w.window_start_ms) AS held"
            " FROM budget_windows w JOIN budgets b USING (budget_id)"
        ):
            assert row.settled_nanos + row.leased_nanos <= row.limit_nanos
            assert row.leased_nanos == row.held
        # Every nano-dollar on record was settled in exactly one window of each budget in scope.
        billed = await harness.billed()
        for row in await harness.rows(
            "SELECT sum(settled_nanos) AS settled FROM budget_windows JOIN budgets USING (budget_id) GROUP BY period"
        ):
            assert row.settled == billed
        once = "SELECT grant_id FROM usage WHERE kind = 'report' GROUP BY grant_id, engine_id HAVING count(*) > 1"
        assert await harness.rows(once) == []
        for ledger in replicas:
            for account in ledger.book.accounts():
                assert min(account.reserved, account.returning, account.remaining) >= 0

    @given(st.integers(0, 2**32))
    @settings(max_examples=12, suppress_health_check=list(HealthCheck))
    def holds(seed: int) -> None:
        loop.run_until_complete(play(seed))

    try:
        holds()
    finally:
        loop.run_until_complete(database.dispose())
        loop.close()


async def test_marks_from_a_clock_that_was_ahead_pass_no_later_grant(harness: LedgerHarness) -> None:
    """An engine's clock was hours ahead and is put right: what is granted from then on must not lapse while it runs."""
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    await harness.watermark(ledger, harness.now_ms)
    harness.now_ms -= 5 * HOUR_MS
    await harness.watermark(ledger, harness.now_ms - 30_000)
    token = await harness.grant(ledger, 100)
    await ledger.flush_journal()
    harness.now_ms += 20_000
    await ledger.sweep()
    assert ledger.book.get(peek(token).grant_id) is not None
    await ledger.settle_now([harness.report(token, 100)])
    assert (await harness.window(budget))[1] == 100
    assert ledger.unbilled_nanos == 0
    # While its clock runs on, its marks never go back.
    await harness.watermark(ledger, harness.now_ms - 40_000)
    rows = await harness.rows("SELECT watermark_ms FROM engines")
    assert [row.watermark_ms for row in rows] == [max(harness.now_ms - 50_000, harness.now_ms - 40_000)]
