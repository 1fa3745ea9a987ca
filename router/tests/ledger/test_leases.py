"""Leases of several replicas: what one settles, the others learn, in any order."""

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
    Verdict,
)
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.waiting import wait_for


async def settle(ledger: Ledger, *claims: object) -> list[Verdict]:
    return await ledger.settle_now(list(claims))  # type: ignore[arg-type]


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


def hold_draws(ledger: Ledger) -> tuple[asyncio.Event, asyncio.Event]:
    """Have the replica learn of its draws late; return what is set once one has committed, and what lets it go on."""
    store, committed, may_go_on = ledger._store.draw, asyncio.Event(), asyncio.Event()

    async def slow(**wanted: Any) -> Any:
        drawn = await store(**wanted)
        committed.set()
        await may_go_on.wait()
        return drawn

    ledger._store.draw = slow  # type: ignore[method-assign]
    return committed, may_go_on


async def test_nothing_is_dropped_while_a_draw_keeps_its_lease_from_being_read(harness: LedgerHarness) -> None:
    await harness.budget(10_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 1_000)
    (account,) = holder.book.accounts()
    committed, may_go_on = hold_draws(holder)
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


async def test_news_of_what_a_draw_keeps_from_being_read_is_taken_in_after_it(harness: LedgerHarness) -> None:
    await harness.budget(10_000)
    holder, other = await harness.replica(), await harness.replica()
    token = await harness.grant(holder, 1_000)
    (account,) = holder.book.accounts()
    committed, may_go_on = hold_draws(holder)
    wanted = account.free + 1
    wanting = asyncio.create_task(harness.grant(holder, wanted))
    await committed.wait()
    await settle(other, harness.report(token, 100))
    holder.settled_elsewhere(holder.replica_id)
    # It has been looked at, and could not be read; nobody tells of it again.
    await wait_for(lambda: account.stale)
    assert account.reserved == 1_000
    may_go_on.set()
    await wanting
    await wait_for(lambda: account.reserved == wanted)
    (lease,) = await harness.rows("SELECT remaining_nanos FROM leases")
    assert account.remaining == lease.remaining_nanos


async def test_what_others_ask_for_during_a_draw_goes_back_after_it(harness: LedgerHarness) -> None:
    budget = await harness.budget(10_000)
    holder = await harness.replica()
    await harness.grant(holder, 1_000)
    (account,) = holder.book.accounts()
    committed, may_go_on = hold_draws(holder)
    wanted = account.free + 1
    wanting = asyncio.create_task(harness.grant(holder, wanted))
    await committed.wait()
    holder.return_requested(budget.budget_id)
    # The request is looked at, and nothing can go back yet.
    await asyncio.sleep(0)
    may_go_on.set()
    await wanting
    # Nothing settles here, and nobody asks again.
    await wait_for(lambda: account.free == account.returning == 0)
    assert (await harness.window(budget))[1:] == (0, 1_000 + wanted)


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
