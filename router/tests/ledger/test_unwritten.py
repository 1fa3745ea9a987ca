"""Reports that come before their reservations are written down, or while they are."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.router.ledger import Outcome, Verdict
from enginehouse.router.ledger._columns import join_texts, texts
from router.tests.harness.ledger import LedgerHarness


async def _rows(harness: LedgerHarness) -> list[tuple[object, ...]]:
    found = await harness.rows("SELECT grant_id, state, cap_nanos, billed_nanos FROM reservations ORDER BY grant_id")
    return [tuple(row) for row in found]


async def test_what_settles_before_it_is_written_is_written_once_as_settled(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    assert await ledger.settle_now([harness.report(token, 40)]) == [Verdict.SETTLED]
    await ledger.flush_journal()
    assert await _rows(harness) == [("g1", "settled", 100, 40)]
    # A row that was changed has an older version of it.
    (row,) = await harness.rows("SELECT xmax::text FROM reservations")
    assert row[0] == "0"


async def test_only_what_is_old_enough_is_written(harness: LedgerHarness) -> None:
    await harness.budget(1_000)
    ledger = await harness.replica()
    await harness.grant(ledger, 10)
    harness.now_ms += 200
    await harness.grant(ledger, 20)
    await ledger.flush_journal(older_than_ms=100)
    assert await _rows(harness) == [("g1", "open", 10, 0)]
    assert ledger.journal_backlog == 1
    harness.now_ms += 100
    await ledger.flush_journal(older_than_ms=100)
    assert [row[0] for row in await _rows(harness)] == ["g1", "g2"]


@pytest.mark.parametrize("funded", [True, False])
async def test_two_routers_settle_one_unwritten_grant_at_once(harness: LedgerHarness, funded: bool) -> None:
    """Each finds no row, and both bill together no more than the cap."""
    if funded:
        await harness.budget(10_000)
    first, second = await harness.replica(), await harness.replica()
    tokens = [await harness.grant(first, 100) for _ in range(20)]
    verdicts = await asyncio.gather(
        first.settle_now([harness.report(token, 70, engine="engine-1") for token in tokens]),
        second.settle_now([harness.report(token, 70, engine="engine-2") for token in reversed(tokens)]),
        first.flush_journal(),
    )
    assert verdicts[:2] == [[Verdict.SETTLED] * 20] * 2
    assert {row[1:] for row in await _rows(harness)} == {("settled", 100, 100)}
    assert await harness.billed() == 20 * 100


async def test_two_routers_hear_one_report_at_once(harness: LedgerHarness) -> None:
    await harness.budget(10_000)
    first, second = await harness.replica(), await harness.replica()
    token = await harness.grant(first, 100)
    verdicts = await asyncio.gather(
        first.settle_now([harness.report(token, 70)]), second.settle_now([harness.report(token, 70)])
    )
    assert sorted(verdict.value for (verdict,) in verdicts) == ["already", "settled"]
    assert await harness.billed() == 70


async def test_an_engine_that_refused_a_grant_reports_it_once(harness: LedgerHarness) -> None:
    await harness.budget(10_000)
    ledger = await harness.replica()
    token = await harness.grant(ledger, 100)
    other = await harness.grant(ledger, 100)
    refused = harness.report(token, 0, outcome=Outcome.REFUSED)
    assert await ledger.settle_now([refused]) == [Verdict.REFUSED]
    # The same engine again: what it has said stays said, and its company settles.
    assert await ledger.settle_now([harness.report(token, 50), harness.report(other, 30)]) == [
        Verdict.ALREADY,
        Verdict.SETTLED,
    ]
    assert await harness.billed() == 30


@pytest.mark.parametrize(
    "column",
    [
        [],
        [""],
        ["", ""],
        ["a"],
        ["a", "", "b"],
        ["\x1f", "a\x1e"],
        ["\x1f\x1e\x1d\x1c\x1b\x1a", "\x01,\u00e9"],
        ["NULL"],
    ],
)
async def test_joined_texts_come_out_as_they_went_in(harness: LedgerHarness, column: list[str]) -> None:
    separator, (joined,) = join_texts([column])
    async with harness.database.connect() as connection:
        raw = await connection.get_raw_connection()
        assert await raw.driver_connection.fetchval(f"SELECT {texts(2, separator=1)}", separator, joined) == column
