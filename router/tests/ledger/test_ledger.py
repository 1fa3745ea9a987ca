"""The ledger's steps one by one, against PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
import sqlalchemy as sa

from enginehouse.router.database import Listener
from enginehouse.router.ledger import (
    RETURN_CHANNEL,
    InsufficientBudget,
    Kind,
    Ledger,
    LedgerUnavailable,
    Period,
    Scope,
    Verdict,
)
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.waiting import wait_for


async def settle(ledger: Ledger, *claims: object) -> list[Verdict]:
    return await ledger.settle_now(list(claims))  # type: ignore[arg-type]


async def spend_until_refused(harness: LedgerHarness, ledger: Ledger, *, cap: int, cost: int) -> None:
    for _ in range(1_000):
        try:
            token = await harness.grant(ledger, cap)
        except InsufficientBudget:
            return
        await settle(ledger, harness.report(token, cost))
    pytest.fail("never refused")


async def test_a_reservation_is_settled_and_the_rest_goes_back_to_the_lease(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    (account,) = ledger.book.accounts()
    assert account.reserved == 100
    assert await settle(ledger, harness.report(token, 40)) == [Verdict.SETTLED]
    limit, settled, leased = await harness.window(budget)
    assert (limit, settled) == (1_000, 40)
    assert leased == account.remaining == account.free
    assert account.reserved == 0
    assert await harness.billed() == 40


async def test_the_same_report_again_changes_nothing(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    assert await settle(ledger, harness.report(token, 40), harness.report(token, 40)) == [
        Verdict.SETTLED,
        Verdict.ALREADY,
    ]
    assert await settle(ledger, harness.report(token, 40)) == [Verdict.ALREADY]
    assert (await harness.window(budget))[1] == 40 == await harness.billed()


async def test_two_engines_of_one_grant_are_billed_to_its_cap_together(harness: LedgerHarness) -> None:
    budget = await harness.budget(10_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    await settle(ledger, harness.report(token, 70, engine="engine-1"))
    await settle(ledger, harness.report(token, 70, engine="engine-2"))
    assert (await harness.window(budget))[1] == 100 == await harness.billed()
    assert ledger.unbilled_nanos == 40


async def test_a_report_over_the_cap_is_clamped_and_the_rest_is_ours(harness: LedgerHarness) -> None:
    budget = await harness.budget(10_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    await settle(ledger, harness.report(token, 250))
    assert (await harness.window(budget))[1] == 100
    assert ledger.unbilled_nanos == 150


async def test_all_budgets_in_scope_pay_or_none(harness: LedgerHarness) -> None:
    rich = await harness.budget(10_000)
    poor = await harness.budget(50, scope=Scope.TENANT, scope_id=harness.TENANT)
    ledger = await harness.replica()
    scopes = (("tenant", harness.TENANT), ("key", harness.KEY))
    with pytest.raises(InsufficientBudget) as refused:
        await harness.grant(ledger, 100, scopes=scopes)
    assert refused.value.budget.budget_id == poor.budget_id
    assert all(account.reserved == 0 for account in ledger.book.accounts())
    token = await harness.grant(ledger, 50, scopes=scopes)
    await settle(ledger, harness.report(token, 50))
    assert (await harness.window(rich))[1] == (await harness.window(poor))[1] == 50
    assert await harness.billed() == 50


async def test_a_budget_of_nothing_pays_for_nothing(harness: LedgerHarness) -> None:
    await harness.budget(0)
    ledger = await harness.replica()
    with pytest.raises(InsufficientBudget):
        await harness.grant(ledger, 1)


async def test_a_budget_is_spent_to_within_one_cap_by_one_caller(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    await spend_until_refused(harness, ledger, cap=70, cost=33)
    settled = (await harness.window(budget))[1]
    assert 1_000 - 70 < settled <= 1_000
    assert settled == await harness.billed()


async def test_hundreds_at_once_never_overspend_and_leave_less_than_one_cap(harness: LedgerHarness) -> None:
    budget = await harness.budget(5_000)
    ledger = await harness.replica()
    refusals = 0

    async def one() -> None:
        nonlocal refusals
        try:
            token = await harness.grant(ledger, 70)
        except InsufficientBudget:
            refusals += 1
            return
        await asyncio.sleep(0)
        await settle(ledger, harness.report(token, 70))

    await asyncio.gather(*(one() for _ in range(300)))
    limit, settled, leased = await harness.window(budget)
    assert settled == await harness.billed() == 71 * 70
    assert settled + leased <= limit
    assert refusals == 300 - 71


async def test_many_replicas_share_one_budget_without_overspending(harness: LedgerHarness) -> None:
    budget = await harness.budget(3_000)
    replicas = [await harness.replica() for _ in range(4)]

    async def one(number: int) -> None:
        ledger = replicas[number % 4]
        try:
            token = await harness.grant(ledger, 50)
        except InsufficientBudget:
            return
        # Any replica may hear the report.
        await settle(replicas[(number // 4) % 4], harness.report(token, 50))

    await asyncio.gather(*(one(number) for number in range(200)))
    limit, settled, leased = await harness.window(budget)
    assert settled == await harness.billed()
    assert settled + leased <= limit
    # What the others hold free of it comes back, and the budget is then spent to within one cap.
    harness.now_ms += 60_000
    for ledger in replicas:
        await ledger.flush_journal()
        await ledger.compare()
        await ledger.return_idle()
    await spend_until_refused(harness, replicas[0], cap=50, cost=50)
    assert (await harness.window(budget))[1] == 3_000


async def test_what_nobody_ran_lapses_at_zero(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    await harness.grant(ledger, 100)
    await ledger.flush_journal()
    harness.now_ms += 20_000
    await harness.watermark(ledger, harness.now_ms - 60_000)
    await ledger.sweep()
    assert len(ledger.book) == 1, "the engine may still hold it"
    await harness.watermark(ledger, harness.now_ms - 10_000)
    await ledger.sweep()
    assert len(ledger.book) == 0
    assert (await harness.window(budget))[1] == 0 == await harness.billed()


async def test_a_cap_is_assumed_and_the_late_truth_replaces_it(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    await ledger.flush_journal()
    harness.now_ms += 60_000 + 31_000
    await ledger.sweep()
    assert (await harness.window(budget))[1] == 100 == await harness.billed()
    assert await settle(ledger, harness.report(token, 30)) == [Verdict.SETTLED]
    assert (await harness.window(budget))[1] == 30 == await harness.billed()
    assert await settle(ledger, harness.report(token, 30)) == [Verdict.ALREADY]
    kinds = [row[0] for row in await harness.rows("SELECT kind FROM usage ORDER BY ordinal")]
    assert kinds == ["assumed", "correction", "report"]


async def test_an_assumption_is_taken_back_when_the_engine_turns_out_to_have_had_nothing(
    harness: LedgerHarness,
) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    await harness.grant(ledger, 100)
    await ledger.flush_journal()
    harness.now_ms += 60_000 + 31_000
    await ledger.sweep()
    assert (await harness.window(budget))[1] == 100 == await harness.billed()
    await harness.watermark(ledger, harness.now_ms - 30_000)
    await ledger.sweep()
    assert (await harness.window(budget))[1] == 0 == await harness.billed()


async def test_a_report_after_a_lapse_at_zero_is_billed_while_the_budget_can_pay(harness: LedgerHarness) -> None:
    budget = await harness.budget(100)
    ledger = await harness.replica()
    tokens = [await harness.grant(ledger, 50) for _ in range(2)]
    await ledger.flush_journal()
    harness.now_ms += 20_000
    await harness.watermark(ledger, harness.now_ms)
    await ledger.sweep()
    await ledger.return_idle()
    assert (await harness.window(budget))[1:] == (0, 0)
    await settle(ledger, harness.report(tokens[0], 50))
    again = await harness.grant(ledger, 50)
    await settle(ledger, harness.report(tokens[1], 50))
    assert (await harness.window(budget))[1] == 50, "the rest is held for a reservation, so the late one is ours"
    assert ledger.unbilled_nanos == 50
    await settle(ledger, harness.report(again, 50))
    assert (await harness.window(budget))[1] == 100 == await harness.billed()


async def test_a_dead_replica_keeps_what_may_be_spent_until_the_engines_have_passed(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    dead = await harness.replica()
    token = await harness.grant(dead, 100)
    await harness.grant(dead, 100)
    await dead.flush_journal()
    lost = await harness.grant(dead, 100)
    held = (await harness.window(budget))[2]
    assert held >= 300
    await harness.kill(dead)
    other = await harness.replica()
    await other.sweep()
    assert (await harness.window(budget))[2] == held
    # A report that names the dead replica's lease settles as ever.
    await settle(other, harness.report(token, 60))
    assert (await harness.window(budget))[1:] == (60, held - 60)
    harness.now_ms += 20_000
    await harness.watermark(other, harness.now_ms - 30_000)
    await other.sweep()
    assert (await harness.window(budget))[2] == held - 60
    await harness.watermark(other, harness.now_ms - 5_000)
    await other.sweep()
    assert (await harness.window(budget))[1:] == (60, 0)
    # One that was never journalled and is reported against all promises is billed from what is free.
    await settle(other, harness.report(lost, 70))
    assert (await harness.window(budget))[1:] == (130, 0)
    assert await harness.billed() == 130


async def test_a_replica_that_was_declared_dead_starts_anew(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    before = ledger.replica_id
    await harness.grant(ledger, 10)
    await harness.kill(ledger)
    with pytest.raises(LedgerUnavailable):
        await harness.grant(ledger, 900)
    await ledger.renew()
    assert ledger.replica_id != before
    await harness.grant(ledger, 10)


async def test_an_engine_that_is_gone_holds_only_its_own_time(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    await harness.watermark(ledger, harness.now_ms - 1, engine="engine-1")
    harness.engines = ["engine-2"]
    harness.now_ms += 4_000_000
    await ledger.renew()
    await harness.grant(ledger, 100)
    await ledger.flush_journal()
    harness.now_ms += 20_000
    await harness.watermark(ledger, harness.now_ms - 1, engine="engine-2")
    await ledger.sweep()
    assert len(ledger.book) == 0
    assert (await harness.window(budget))[1] == 0


async def test_a_request_settles_in_the_window_that_reserved_it(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000, period=Period.DAY)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 1_000)
    with pytest.raises(InsufficientBudget):
        await harness.grant(ledger, 10)
    harness.now_ms += 86_400_000
    second = await harness.grant(ledger, 1_000)
    await settle(ledger, harness.report(token, 900), harness.report(second, 100))
    windows = await harness.rows("SELECT settled_nanos FROM budget_windows ORDER BY window_start_ms")
    assert [row[0] for row in windows] == [900, 100]
    await ledger.return_idle()
    assert (await harness.rows(f"SELECT min(leased_nanos) FROM budget_windows WHERE budget_id = '{budget.budget_id}'"))[
        0
    ][0] == 0


async def test_without_a_budget_everything_is_recorded_and_nothing_refused(harness: LedgerHarness) -> None:
    ledger = await harness.replica()
    token = await harness.grant(ledger, 10**15)
    assert await settle(ledger, harness.report(token, 123)) == [Verdict.SETTLED]
    assert await harness.billed() == 123


async def test_a_settlement_elsewhere_frees_the_holder(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 100)
    await settle(other, harness.report(token, 30))
    harness.now_ms += 2_000
    await holder.compare()
    (account,) = holder.book.accounts()
    assert account.reserved == 0
    rows = await harness.rows("SELECT remaining_nanos FROM leases")
    assert account.remaining == rows[0][0]


async def test_news_of_a_lease_may_come_in_any_order(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    await harness.grant(ledger, 100)
    (account,) = ledger.book.accounts()
    ledger.book.observe(account.lease_id, remaining=70, version=account.version + 2)
    ledger.book.observe(account.lease_id, remaining=500, version=account.version - 1)
    assert account.remaining == 70


async def test_a_lease_is_a_share_of_what_is_left_and_follows_the_rate(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000_000)
    ledger = await harness.replica()
    tokens = [await harness.grant(ledger, 10)]
    assert (await harness.window(budget))[2] == 80
    for _ in range(5):
        tokens += [await harness.grant(ledger, 10) for _ in range(500)]
        ledger.measure(elapsed_s=1.0)
    tokens.append(await harness.grant(ledger, 10))
    (account,) = ledger.book.accounts()
    if account.drawing is not None:
        await account.drawing
    assert account.free >= 5_000
    limit, _, leased = await harness.window(budget)
    assert leased <= limit // 8 + len(tokens) * 10


async def test_a_request_waits_for_what_another_replica_holds_idle(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 1_000)
    await settle(holder, harness.report(token, 100))
    assert (await harness.window(budget))[1:] == (100, 900)

    async def connected() -> None:
        listening.set()

    listening = asyncio.Event()
    listener = Listener(
        database=harness.database, handlers={RETURN_CHANNEL: holder.return_requested}, on_connect=connected
    )
    listener.start()
    try:
        await listening.wait()
        # Longer than anything takes, so that the answer is not a matter of the machine's speed.
        other._terms = dataclasses.replace(other._terms, recall_s=5.0)
        await harness.grant(other, 900)
    finally:
        await listener.close()
    with pytest.raises(InsufficientBudget):
        await harness.grant(other, 1)


async def test_what_others_settled_is_free_at_the_news_of_it(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 1_000)
    await settle(other, harness.report(token, 100))
    (account,) = holder.book.accounts()
    assert account.free == 0
    holder.settled_elsewhere(holder.replica_id)
    await wait_for(lambda: account.free)
    assert account.free == 900
    assert len(holder.book) == 0


async def test_nothing_is_dropped_while_a_draw_keeps_its_lease_from_being_read(harness: LedgerHarness) -> None:
    await harness.budget(10_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 1_000)
    (account,) = holder.book.accounts()
    store, committed, may_go_on = holder._store.draw, asyncio.Event(), asyncio.Event()

    async def slow(**wanted: Any) -> Any:
        drawn = await store(**wanted)
        committed.set()
        await may_go_on.wait()
        return drawn

    holder._store.draw = slow  # type: ignore[method-assign]
    wanting = asyncio.create_task(harness.grant(holder, account.free + 1))
    await committed.wait()
    await settle(other, harness.report(token, 1_000))
    await holder.compare(youngest_ms=0)
    (lease,) = await harness.rows("SELECT remaining_nanos FROM leases")
    assert account.free <= lease.remaining_nanos
    assert account.reserved == 1_000
    may_go_on.set()
    await wanting
    await holder.compare(youngest_ms=0)
    (lease,) = await harness.rows("SELECT remaining_nanos FROM leases")
    assert account.remaining == lease.remaining_nanos
    assert len(holder.book) == 1


async def test_a_late_report_tells_its_holder_what_an_assumption_had_cost(harness: LedgerHarness) -> None:
    await harness.budget(10_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 1_000)
    await holder.flush_journal()
    harness.now_ms += 600_000
    swept = await other.sweep()
    assert swept is not None
    assert [claim.kind for claim in swept.claims] == [Kind.ASSUME]
    await settle(holder, harness.report(token, 400))
    (account,) = holder.book.accounts()
    (lease,) = await harness.rows("SELECT remaining_nanos FROM leases")
    assert account.free == lease.remaining_nanos


async def test_a_return_that_was_given_up_and_commits_late_is_waited_for(harness: LedgerHarness) -> None:
    await harness.budget(10_000)
    holder = await harness.replica()
    await settle(holder, harness.report(await harness.grant(holder, 1_000), 0))
    (account,) = holder.book.accounts()
    free = account.free
    # What the server does after the client has lost the connection in its COMMIT.
    async with harness.database.connect() as connection:
        taken = await connection.execute(
            sa.text("UPDATE leases SET remaining_nanos = 0, version = version + 1 RETURNING budget_id")
        )
        await connection.execute(
            sa.text("UPDATE budget_windows SET leased_nanos = leased_nanos - :free WHERE budget_id = :budget_id"),
            {"free": free, "budget_id": taken.scalar_one()},
        )
        account.returning, account.stale = free, True
        comparing = asyncio.create_task(holder.compare())
        blocked = "SELECT count(*) AS count FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not (await harness.rows(blocked))[0].count:
            assert not comparing.done()
            await asyncio.sleep(0.01)
        await connection.commit()
    await comparing
    assert account.free == 0
