"""Requests that wait for money in flight, against PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator

import pytest

from enginehouse.router.database import Listener, open_database
from enginehouse.router.ledger import (
    RETURN_CHANNEL,
    SETTLED_CHANNEL,
    InsufficientBudget,
    Ledger,
    LedgerUnavailable,
    Scope,
)
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.waiting import wait_for

# Longer than anything takes: nothing here is a matter of the machine's speed.
LONG_S = 60.0
BOTH = (("tenant", LedgerHarness.TENANT), ("key", LedgerHarness.KEY))


@contextlib.asynccontextmanager
async def listening(harness: LedgerHarness, *ledgers: Ledger) -> AsyncIterator[None]:
    """Have replicas hear each other."""
    async with contextlib.AsyncExitStack() as stack:
        for ledger in ledgers:
            connected = asyncio.Event()

            async def on_connect(connected: asyncio.Event = connected) -> None:
                connected.set()

            listener = Listener(
                database=harness.database,
                handlers={RETURN_CHANNEL: ledger.return_requested, SETTLED_CHANNEL: ledger.settled_elsewhere},
                on_connect=on_connect,
            )
            listener.start()
            stack.push_async_callback(listener.close)
            await connected.wait()
        yield


@contextlib.asynccontextmanager
async def passing(harness: LedgerHarness) -> AsyncIterator[None]:
    """Let the harness's clock go on as ours does: replicas ask each other again only after some time."""

    async def tick() -> None:
        began_s, began_ms = asyncio.get_running_loop().time(), harness.now_ms
        while True:
            await asyncio.sleep(0.01)
            harness.now_ms = began_ms + int((asyncio.get_running_loop().time() - began_s) * 1000)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])


async def test_those_that_a_budget_can_pay_for_are_served_in_turn(harness: LedgerHarness) -> None:
    """Each may cost three times what it costs."""
    budget = await harness.budget(140 * 10)
    ledger = await harness.replica()
    served: list[int] = []
    refused: list[InsufficientBudget] = []

    async def one(number: int) -> None:
        try:
            token = await harness.grant(ledger, 30, wait_s=LONG_S)
        except InsufficientBudget as error:
            refused.append(error)
            return
        served.append(number)
        await asyncio.sleep(0)
        await ledger.settle_now([harness.report(token, 10)])

    await asyncio.gather(*(one(number) for number in range(300)))
    limit, settled, leased = await harness.window(budget)
    assert settled == await harness.billed() == len(served) * 10
    # What is left at the end is less than one may cost.
    assert limit - settled < 30
    assert settled + leased <= limit
    assert served == sorted(served)
    # Those who are refused then have nothing to wait for.
    assert not any(error.in_flight for error in refused)
    assert ledger.waiting == 0


@pytest.mark.parametrize("seed", range(6))
async def test_nobody_is_refused_what_a_budget_turns_out_to_have(harness: LedgerHarness, seed: int) -> None:
    """Caps, scopes, replicas, reports elsewhere, extensions and callers who hang up, at random."""
    dice = random.Random(seed)
    budgets = {
        "key": await harness.budget(2_000),
        "tenant": await harness.budget(2_400, scope=Scope.TENANT, scope_id=harness.TENANT),
    }
    ledgers = [await harness.replica() for _ in range(1 + seed % 3)]
    spent = dict.fromkeys(budgets, 0)
    refused: list[tuple[int, InsufficientBudget]] = []

    async def serve(ledger: Ledger, token: str, cap: int, scopes: tuple[tuple[str, str], ...]) -> None:
        await asyncio.sleep(dice.uniform(0, 0.02))
        if dice.random() < 0.2:
            # A short wait: all of a budget may be held by those who wait for more of it.
            with contextlib.suppress(InsufficientBudget):
                token = await harness.extend(ledger, token, cap + dice.randint(1, 50), wait_s=0.05)
        cost = dice.randint(0, cap)
        await dice.choice(ledgers).settle_now([harness.report(token, cost)])
        for scope, _ in scopes:
            spent[scope] += cost

    async def call() -> None:
        ledger, cap = dice.choice(ledgers), dice.randint(1, 200)
        scopes = dice.choice([BOTH, BOTH, BOTH[:1], BOTH[1:]])
        await asyncio.sleep(dice.uniform(0, 0.3))
        asking = asyncio.create_task(harness.grant(ledger, cap, scopes=scopes, wait_s=LONG_S))
        patience_s = dice.uniform(0, 0.1) if dice.random() < 0.2 else None
        await asyncio.wait([asking], timeout=patience_s)
        if not asking.done():
            asking.cancel()
            await asyncio.wait([asking])
        if asking.cancelled():
            return
        if isinstance(error := asking.exception(), InsufficientBudget):
            refused.append((cap, error))
            return
        await serve(ledger, asking.result(), cap, scopes)

    async with listening(harness, *ledgers), passing(harness):
        await asyncio.gather(*(call() for _ in range(150)))
    left = {}
    for scope, budget in budgets.items():
        limit, settled, leased = await harness.window(budget)
        assert settled == spent[scope]
        assert settled + leased <= limit
        left[budget.budget_id] = limit - settled
    assert refused
    for cap, error in refused:
        assert not error.in_flight
        assert left[error.budget.budget_id] < cap
    harness.now_ms += 60_000
    for ledger in ledgers:
        assert ledger.waiting == 0
        await ledger.compare()
        await ledger.return_idle()
        assert len(ledger.book) == 0
        assert all(account.queue is None and account.reserved == 0 for account in ledger.book.accounts())
    for budget in budgets.values():
        assert (await harness.window(budget))[2] == 0


async def test_a_small_request_does_not_overtake_a_large_one(harness: LedgerHarness) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    first, second = await harness.grant(ledger, 60), await harness.grant(ledger, 40)
    large = asyncio.create_task(harness.grant(ledger, 90, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 1)
    small = asyncio.create_task(harness.grant(ledger, 10, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 2)
    await ledger.settle_now([harness.report(first, 0)])
    # 60 are free, and set aside for the one that needs 90; 40 more make it 100.
    await asyncio.sleep(0)
    assert not small.done()
    await ledger.settle_now([harness.report(second, 0)])
    await asyncio.gather(large, small)


async def test_who_needs_no_account_that_others_wait_for_is_not_held_up(harness: LedgerHarness) -> None:
    await harness.budget(100)
    await harness.budget(10_000, scope=Scope.TENANT, scope_id=harness.TENANT)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100, scopes=BOTH)
    waiting = asyncio.create_task(harness.grant(ledger, 100, scopes=BOTH, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 1)
    await harness.grant(ledger, 100, scopes=BOTH[:1])
    assert not waiting.done()
    await ledger.settle_now([harness.report(token, 0)])
    await waiting


async def test_a_running_request_goes_before_those_that_have_not_begun(harness: LedgerHarness) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    first, second = await harness.grant(ledger, 50), await harness.grant(ledger, 50)
    waiting = asyncio.create_task(harness.grant(ledger, 20, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 1)
    longer = asyncio.create_task(harness.extend(ledger, second, 90, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 2)
    await ledger.settle_now([harness.report(first, 0)])
    second = await longer
    assert not waiting.done()
    await ledger.settle_now([harness.report(second, 80)])
    await waiting


async def test_running_requests_that_hold_all_and_need_more_wait_no_longer_than_they_may(
    harness: LedgerHarness,
) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    tokens = [await harness.grant(ledger, 50) for _ in range(2)]
    ends = await asyncio.gather(
        *(harness.extend(ledger, token, 60, wait_s=0.1) for token in tokens), return_exceptions=True
    )
    assert all(isinstance(end, InsufficientBudget) and end.in_flight for end in ends)
    (account,) = ledger.book.accounts()
    assert account.reserved == 100


async def test_what_becomes_free_at_another_replica_is_waited_for(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 1_000)
    async with listening(harness, holder, other):
        waiting = asyncio.create_task(harness.grant(other, 900, wait_s=LONG_S))
        await wait_for(lambda: other.waiting == 1)
        # Reported to the one that waits, which does not hold it.
        await other.settle_now([harness.report(token, 100)])
        await waiting
    assert (await harness.window(budget))[1:] == (100, 900)


async def test_remainders_at_several_replicas_pay_together(harness: LedgerHarness) -> None:
    await harness.budget(100)
    ledgers = [await harness.replica() for _ in range(2)]
    tokens = [await harness.grant(ledger, 50) for ledger in ledgers]
    async with listening(harness, *ledgers):
        waiting = [asyncio.create_task(harness.grant(ledger, 60, wait_s=LONG_S)) for ledger in ledgers]
        await wait_for(lambda: all(ledger.waiting for ledger in ledgers))
        for ledger, token in zip(ledgers, tokens, strict=True):
            await ledger.settle_now([harness.report(token, 20)])
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        served = next(iter(done)).result()
        await ledgers[0].settle_now([harness.report(served, 60)])
        # Then the budget is spent.
        ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(end, InsufficientBudget) and not end.in_flight for end in ends].count(True) == 1


async def test_who_hangs_up_leaves_the_queue_and_holds_nothing(harness: LedgerHarness) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    gone = asyncio.create_task(harness.grant(ledger, 100, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 1)
    behind = asyncio.create_task(harness.grant(ledger, 60, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 2)
    gone.cancel()
    await asyncio.wait([gone])
    assert ledger.waiting == 1
    await ledger.settle_now([harness.report(token, 40)])
    await behind
    (account,) = ledger.book.accounts()
    assert (account.reserved, account.free, account.queue) == (60, 0, None)


async def test_what_is_spent_is_refused_at_once_and_what_is_in_flight_after_the_wait(harness: LedgerHarness) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    with pytest.raises(InsufficientBudget) as late:
        await harness.grant(ledger, 50, wait_s=0.05)
    assert late.value.in_flight
    assert late.value.waited_ms > 0
    with pytest.raises(InsufficientBudget) as impatient:
        await harness.grant(ledger, 50)
    assert (impatient.value.in_flight, impatient.value.waited_ms) == (True, 0)
    await ledger.settle_now([harness.report(token, 60)])
    with pytest.raises(InsufficientBudget) as spent:
        await harness.grant(ledger, 50, wait_s=LONG_S)
    assert (spent.value.in_flight, spent.value.waited_ms) == (False, 0)


async def test_no_more_wait_than_may(harness: LedgerHarness) -> None:
    await harness.budget(100)
    harness.terms = dataclasses.replace(harness.terms, budget_waiters_per_account=2)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    waiting = [asyncio.create_task(harness.grant(ledger, 50, wait_s=LONG_S)) for _ in range(2)]
    await wait_for(lambda: ledger.waiting == 2)
    with pytest.raises(InsufficientBudget) as crowded:
        await harness.grant(ledger, 50, wait_s=LONG_S)
    assert (crowded.value.in_flight, crowded.value.ahead) == (True, 2)
    await ledger.settle_now([harness.report(token, 0)])
    await asyncio.gather(*waiting)


async def test_a_new_registration_and_a_raised_limit_are_noticed_by_those_who_wait(harness: LedgerHarness) -> None:
    budget = await harness.budget(100)
    ledger = await harness.replica()
    await harness.grant(ledger, 100)
    waiting = asyncio.create_task(harness.grant(ledger, 100, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 1)
    await ledger.register()
    await harness.raise_limit(budget, 200)
    await waiting
    (account,) = ledger.book.accounts()
    assert (account.reserved, account.free) == (100, 0)


async def test_a_database_that_goes_away_ends_the_wait(harness: LedgerHarness) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    await harness.grant(ledger, 100)
    waiting = asyncio.create_task(harness.grant(ledger, 100, wait_s=LONG_S))
    await wait_for(lambda: ledger.waiting == 1)
    broken = open_database("postgresql://nobody@127.0.0.1:1/none")
    ledger._store._database = broken
    with pytest.raises(LedgerUnavailable):
        await waiting
    await broken.dispose()
