"""Reservations and settlements one by one, against PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.router.ledger import (
    InsufficientBudget,
    Ledger,
    Period,
    Scope,
    Verdict,
)
from router.tests.harness.ledger import LedgerHarness


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


async def test_a_report_over_the_cap_is_clamped_and_the_rest_is_unbilled(harness: LedgerHarness) -> None:
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
