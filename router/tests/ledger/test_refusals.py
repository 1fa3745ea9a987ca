"""One grant carried from engine to engine: refusals keep the money for whoever answers, and bill nothing themselves."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from enginehouse.router.ledger import BudgetExhausted, Claim, Outcome, Verdict

FIRST, SECOND = "engine-1", "engine-2"


def offered_to(claim: Claim, engines: int) -> Claim:
    claim.grant.offered_engines = engines
    return claim


def refusal(world: Any, token: str, engine: str, *, offered: int = 2) -> Claim:
    claim = world.report(token, 0, engine=engine, outcome=Outcome.REFUSED)
    return offered_to(dataclasses.replace(claim, amounts={}), offered)


def answer(world: Any, token: str, cost: int, engine: str) -> Claim:
    return offered_to(world.report(token, cost, engine=engine), 2)


async def test_a_refusal_keeps_the_money_for_the_next_engine(world: Any) -> None:
    budget = await world.budget(100)
    ledger = await world.replica()
    token = await world.grant(ledger, 100)
    assert await ledger.settle_now([refusal(world, token, FIRST)]) == [Verdict.REFUSED]
    with pytest.raises(BudgetExhausted):
        await world.grant(ledger, 1)
    assert await ledger.settle_now([answer(world, token, 60, SECOND)]) == [Verdict.SETTLED]
    assert (await world.window(budget))[1] == 60 == await world.billed()
    assert ledger.unbilled_nanos == 0
    assert len(ledger.book) == 0
    await world.grant(ledger, 40)


async def test_when_all_have_refused_the_money_is_free_at_once(world: Any) -> None:
    budget = await world.budget(100)
    ledger = await world.replica()
    token = await world.grant(ledger, 100)
    refusals = [refusal(world, token, FIRST), refusal(world, token, SECOND)]
    assert await ledger.settle_now(refusals) == [Verdict.REFUSED, Verdict.SETTLED]
    assert (await world.window(budget))[1] == 0 == await world.billed()
    await world.grant(ledger, 100)


async def test_the_only_engine_has_the_last_word(world: Any) -> None:
    await world.budget(100)
    ledger = await world.replica()
    token = await world.grant(ledger, 100)
    assert await ledger.settle_now([refusal(world, token, FIRST, offered=1)]) == [Verdict.SETTLED]
    await world.grant(ledger, 100)


async def test_where_nobody_takes_it_up_it_lapses_as_the_watermarks_pass(world: Any) -> None:
    """The gateway may have given up, or its caller: no report will ever say so."""
    world.engines = [FIRST, SECOND]
    budget = await world.budget(100)
    ledger = await world.replica()
    token = await world.grant(ledger, 100)
    await ledger.settle_now([refusal(world, token, FIRST)])
    await ledger.flush_journal()
    world.now_ms += 20_000
    await world.watermark(ledger, world.now_ms - 10_000, engine=FIRST)
    await world.watermark(ledger, world.now_ms - 60_000, engine=SECOND)
    await ledger.sweep()
    assert len(ledger.book) == 1, "the second may still have it"
    await world.watermark(ledger, world.now_ms - 10_000, engine=SECOND)
    await ledger.sweep()
    assert len(ledger.book) == 0
    assert (await world.window(budget))[1] == 0 == await world.billed()


async def test_a_refusal_does_not_end_an_assumption_that_another_engine_causes(world: Any) -> None:
    budget = await world.budget(1_000)
    ledger = await world.replica()
    token = await world.grant(ledger, 100)
    await ledger.flush_journal()
    world.now_ms += 60_000 + 31_000
    await ledger.sweep()
    assert await ledger.settle_now([refusal(world, token, FIRST)]) == [Verdict.REFUSED]
    assert (await world.window(budget))[1] == 100 == await world.billed()
    assert await ledger.settle_now([answer(world, token, 30, SECOND)]) == [Verdict.SETTLED]
    assert (await world.window(budget))[1] == 30 == await world.billed()


async def test_in_any_order_and_however_often_the_outcome_is_the_same(world: Any) -> None:
    budget = await world.budget(100_000)
    expected = 0
    for order in itertools.permutations(range(4)):
        ledger = await world.replica()
        token = await world.grant(ledger, 100)
        claims = [
            refusal(world, token, FIRST),
            refusal(world, token, FIRST),
            answer(world, token, 60, SECOND),
            answer(world, token, 60, SECOND),
        ]
        for place in order:
            await ledger.settle_now([claims[place]])
        expected += 60
        assert len(ledger.book) == 0
        assert (await world.window(budget))[1] == expected == await world.billed()
        limit, settled, leased = await world.window(budget)
        assert settled + leased <= limit
