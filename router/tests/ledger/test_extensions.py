"""Reservations that are extended in flight: from the same budgets, never beyond them, and never without them."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.kit.grants import peek
from enginehouse.router.ledger import InsufficientBudget, LedgerStore, LedgerUnavailable, Period, Scope, Verdict
from router.tests.harness.ledger import LedgerHarness


async def test_an_extended_request_is_billed_to_its_new_cap(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.extend(ledger, await harness.grant(ledger, 100), 700)
    assert await ledger.settle_now([harness.report(token, 650)]) == [Verdict.SETTLED]
    limit, settled, leased = await harness.window(budget)
    (account,) = ledger.book.accounts()
    assert (limit, settled, leased, account.reserved) == (1_000, 650, account.remaining, 0)
    assert ledger.unbilled_nanos == 0


async def test_a_request_without_a_budget_is_extended_without_bound(harness: LedgerHarness) -> None:
    ledger = await harness.replica()
    token = await harness.extend(ledger, await harness.grant(ledger, 100), 10**15)
    assert peek(token).candidates[0].cap_nanos == 10**15
    assert await ledger.settle_now([harness.report(token, 10**14)]) == [Verdict.SETTLED]
    assert await harness.billed() == 10**14


async def test_all_budgets_pay_or_none(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    tenant = await harness.budget(300, scope=Scope.TENANT, scope_id=harness.TENANT)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100, scopes=[("key", harness.KEY), ("tenant", harness.TENANT)])
    with pytest.raises(InsufficientBudget) as caught:
        await harness.extend(ledger, token, 301)
    assert caught.value.budget.budget_id == tenant.budget_id
    assert [account.reserved for account in ledger.book.accounts()] == [100, 100]
    token = await harness.extend(ledger, token, 300)
    assert await ledger.settle_now([harness.report(token, 300)]) == [Verdict.SETTLED]
    assert await harness.billed() == 300


async def test_extensions_at_once_never_overspend_a_budget(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    replicas = [await harness.replica(), await harness.replica()]
    tokens = [(ledger, await harness.grant(ledger, 10)) for ledger in replicas for _ in range(10)]

    async def one(number: int) -> str:
        ledger, token = tokens[number]
        try:
            return await harness.extend(ledger, token, 110)
        except InsufficientBudget:
            return token

    extended = await asyncio.gather(*[one(number) for number in range(len(tokens))])
    caps = [peek(token).candidates[0].cap_nanos for token in extended]
    assert 110 in caps
    assert 10 in caps
    for (ledger, _), token, cap in zip(tokens, extended, caps, strict=True):
        await ledger.settle_now([harness.report(token, cap)])
    assert (await harness.window(budget))[1] == sum(caps) <= 1_000


async def test_the_same_extension_again_takes_nothing_more(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    await harness.extend(ledger, token, 400)
    await harness.extend(ledger, token, 400)
    (account,) = ledger.book.accounts()
    assert account.reserved == 400


async def test_what_is_assumed_of_a_lost_engine_is_the_extended_cap(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    await harness.watermark(ledger, 0)
    token = await harness.grant(ledger, 100)
    # The journal's batch never comes: the extension is written down by itself.
    token = await harness.extend(ledger, token, 400)
    harness.now_ms += 200_000
    await ledger.sweep()
    assert await harness.billed() == 400
    await ledger.settle_now([harness.report(token, 350)])
    assert await harness.billed() == 350
    assert ledger.unbilled_nanos == 0


async def test_a_settled_reservation_is_not_extended(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger, other = await harness.replica(), await harness.replica()
    token = await harness.grant(ledger, 100)
    with pytest.raises(LedgerUnavailable):
        await harness.extend(other, token, 200)
    await ledger.settle_now([harness.report(token, 100)])
    with pytest.raises(LedgerUnavailable):
        await harness.extend(ledger, token, 200)


async def test_what_lapsed_elsewhere_is_not_extended_and_its_bill_stays(harness: LedgerHarness) -> None:
    """The holder has not heard yet that another assumed the cap, and what it adds must not be billed."""
    budget = await harness.budget(1_000)
    ledger, other = await harness.replica(), await harness.replica()
    await harness.watermark(ledger, 0)
    token = await harness.grant(ledger, 100)
    await ledger.flush_journal()
    harness.now_ms += 200_000
    await other.sweep()
    with pytest.raises(LedgerUnavailable):
        await harness.extend(ledger, token, 400)
    await other.settle_now([harness.report(token, 90)])
    await ledger.compare(youngest_ms=0)
    assert await harness.billed() == 90
    assert (await harness.window(budget))[1] == 90
    (account,) = ledger.book.accounts()
    assert account.reserved == 0
    assert account.free == account.remaining


async def test_a_late_journal_does_not_lower_an_extended_cap(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.extend(ledger, await harness.grant(ledger, 100), 400)
    await ledger.flush_journal()
    assert [row.cap_nanos for row in await harness.rows("SELECT cap_nanos FROM reservations")] == [400]
    assert await ledger.settle_now([harness.report(token, 400)]) == [Verdict.SETTLED]
    assert await harness.billed() == 400


async def test_an_extension_that_could_not_be_written_down_is_freed_with_its_reservation(
    harness: LedgerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)

    async def away(*_: object) -> bool:
        raise OSError("the connection broke")

    with monkeypatch.context() as patched:
        patched.setattr(LedgerStore, "raise_cap", away)
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                await harness.extend(ledger, token, 400)
    (account,) = ledger.book.accounts()
    assert account.reserved == 400
    assert await ledger.settle_now([harness.report(token, 100)]) == [Verdict.SETTLED]
    assert account.reserved == 0
    assert await harness.billed() == 100


async def test_nothing_is_drawn_on_a_lease_that_was_given_up(harness: LedgerHarness) -> None:
    """Yesterday's, which held nothing; and those of an earlier registration."""
    budget = await harness.budget(1_000, period=Period.DAY)
    ledger = await harness.replica()
    free = await harness.grant(ledger, 0)
    harness.now_ms += 86_400_000
    await ledger.return_idle()
    with pytest.raises(LedgerUnavailable):
        await harness.extend(ledger, free, 100)
    paid = await harness.grant(ledger, 100)
    before = await harness.window(budget)
    await ledger.register()
    with pytest.raises(LedgerUnavailable):
        await harness.extend(ledger, paid, 500)
    assert await harness.window(budget) == before
    assert [row.sum for row in await harness.rows("SELECT sum(leased_nanos) FROM budget_windows")] == [before[2]]
