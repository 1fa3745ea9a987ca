"""One grant carried from engine to engine: refusals keep the money for whoever answers, and bill nothing themselves."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from enginehouse.router.ledger import Claim, InsufficientBudget, Outcome, Verdict
from router.tests.harness.ledger import LedgerHarness

FIRST, SECOND = "engine-1", "engine-2"


def offered_to(claim: Claim, engines: int) -> Claim:
    claim.grant.offered_engines = engines
    return claim


def refusal(harness: LedgerHarness, token: str, engine: str, *, offered: int = 2) -> Claim:
    claim = harness.report(token, 0, engine=engine, outcome=Outcome.REFUSED)
    return offered_to(dataclasses.replace(claim, amounts={}), offered)


def answer(harness: LedgerHarness, token: str, cost: int, engine: str) -> Claim:
    return offered_to(harness.report(token, cost, engine=engine), 2)


async def test_a_refusal_keeps_the_money_for_the_next_engine(harness: LedgerHarness) -> None:
    budget = await harness.budget(100)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    assert await ledger.settle_now([refusal(harness, token, FIRST)]) == [Verdict.REFUSED]
    with pytest.raises(InsufficientBudget):
        await harness.grant(ledger, 1)
    assert await ledger.settle_now([answer(harness, token, 60, SECOND)]) == [Verdict.SETTLED]
    assert (await harness.window(budget))[1] == 60 == await harness.billed()
    assert ledger.unbilled_nanos == 0
    assert len(ledger.book) == 0
    await harness.grant(ledger, 40)


async def test_when_all_have_refused_the_money_is_free_at_once(harness: LedgerHarness) -> None:
    budget = await harness.budget(100)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    refusals = [refusal(harness, token, FIRST), refusal(harness, token, SECOND)]
    assert await ledger.settle_now(refusals) == [Verdict.REFUSED, Verdict.SETTLED]
    assert (await harness.window(budget))[1] == 0 == await harness.billed()
    await harness.grant(ledger, 100)


async def test_the_only_engine_has_the_last_word(harness: LedgerHarness) -> None:
    await harness.budget(100)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    assert await ledger.settle_now([refusal(harness, token, FIRST, offered=1)]) == [Verdict.SETTLED]
    await harness.grant(ledger, 100)


async def test_where_nobody_takes_it_up_it_lapses_as_the_watermarks_pass(harness: LedgerHarness) -> None:
    """The gateway may have given up, or its caller: no report will ever say so."""
    harness.engines = [FIRST, SECOND]
    budget = await harness.budget(100)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    await ledger.settle_now([refusal(harness, token, FIRST)])
    await ledger.flush_journal()
    harness.now_ms += 20_000
    await harness.watermark(ledger, harness.now_ms - 10_000, engine=FIRST)
    await harness.watermark(ledger, harness.now_ms - 60_000, engine=SECOND)
    await ledger.sweep()
    assert len(ledger.book) == 1, "the second may still have it"
    await harness.watermark(ledger, harness.now_ms - 10_000, engine=SECOND)
    await ledger.sweep()
    assert len(ledger.book) == 0
    assert (await harness.window(budget))[1] == 0 == await harness.billed()


async def test_a_refusal_does_not_end_an_assumption_that_another_engine_causes(harness: LedgerHarness) -> None:
    budget = await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    await ledger.flush_journal()
    harness.now_ms += 60_000 + 31_000
    await ledger.sweep()
    assert await ledger.settle_now([refusal(harness, token, FIRST)]) == [Verdict.REFUSED]
    assert (await harness.window(budget))[1] == 100 == await harness.billed()
    assert await ledger.settle_now([answer(harness, token, 30, SECOND)]) == [Verdict.SETTLED]
    assert (await harness.window(budget))[1] == 30 == await harness.billed()


async def test_in_any_order_and_however_often_the_outcome_is_the_same(harness: LedgerHarness) -> None:
    budget = await harness.budget(100_000)
    expected = 0
    for order in itertools.permutations(range(4)):
        ledger = await harness.replica()
        token = await harness.grant(ledger, 100)
        claims = [
            refusal(harness, token, FIRST),
            refusal(harness, token, FIRST),
            answer(harness, token, 60, SECOND),
            answer(harness, token, 60, SECOND),
        ]
        for place in order:
            await ledger.settle_now([claims[place]])
        expected += 60
        assert len(ledger.book) == 0
        assert (await harness.window(budget))[1] == expected == await harness.billed()
        limit, settled, leased = await harness.window(budget)
        assert settled + leased <= limit
