"""Grants that nobody reports: they lapse, or their cap is assumed until the truth comes."""

from __future__ import annotations

import pytest

from enginehouse.router.ledger import (
    Ledger,
    LedgerUnavailable,
    Verdict,
)
from router.tests.harness.ledger import LedgerHarness


async def settle(ledger: Ledger, *claims: object) -> list[Verdict]:
    return await ledger.settle_now(list(claims))  # type: ignore[arg-type]


async def test_a_grant_that_nobody_ran_lapses_at_zero(harness: LedgerHarness) -> None:
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


async def test_a_cap_is_assumed_and_a_late_report_replaces_it(harness: LedgerHarness) -> None:
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


async def test_a_free_request_that_another_replica_lets_lapse_is_closed(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    other, holder = await harness.replica(), await harness.replica()
    # Nothing was drawn for it, so that its account has no row to compare with.
    await harness.grant(holder, 0)
    await holder.flush_journal()
    harness.now_ms += 200_000
    await harness.watermark(other, harness.now_ms - 30_000)
    await other.sweep()
    await holder.compare()
    assert len(holder.book) == 0
