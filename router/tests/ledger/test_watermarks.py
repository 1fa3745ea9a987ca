"""Watermarks share statements, are told to be noted only then, and keep each engine's order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from enginehouse.router.ledger import LedgerUnavailable, Watermark
from enginehouse.router.ledger._watermarks import WatermarkQueue
from router.tests.harness.ledger import LedgerHarness

# Longer than any test lasts: what gathers so long is seen to wait.
LONG_S = 3600.0


class Statements:
    """Stands for PostgreSQL."""

    def __init__(self) -> None:
        self.noted: list[list[Watermark]] = []
        self.away = False

    async def note(self, marks: Sequence[Watermark]) -> None:
        if self.away:
            raise LedgerUnavailable("away")
        self.noted.append(list(marks))


@contextlib.asynccontextmanager
async def running(statements: Statements, *, gather_s: float) -> AsyncIterator[WatermarkQueue]:
    queue = WatermarkQueue(note=statements.note, gather_s=gather_s)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()


async def test_the_first_is_noted_at_once_and_the_next_wait() -> None:
    statements = Statements()
    async with running(statements, gather_s=LONG_S) as queue:
        await queue.put(Watermark("a", 1, 2))
        second = queue.put(Watermark("b", 1, 2))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done()
    assert statements.noted == [[Watermark("a", 1, 2)]]


async def test_engines_share_a_statement_and_one_engines_follow_each_other() -> None:
    statements = Statements()
    async with running(statements, gather_s=0.01) as queue:
        marks = [Watermark("a", 1, 2), Watermark("b", 1, 2), Watermark("a", 3, 4)]
        await asyncio.gather(*[queue.put(mark) for mark in marks])
    assert statements.noted == [marks[:2], marks[2:]]


async def test_those_who_could_not_be_noted_are_told_and_the_next_are_noted() -> None:
    statements = Statements()
    statements.away = True
    async with running(statements, gather_s=0) as queue:
        first, second = queue.put(Watermark("a", 1, 2)), queue.put(Watermark("b", 1, 2))
        for waiting in (first, second):
            with pytest.raises(LedgerUnavailable):
                await waiting
        statements.away = False
        await queue.put(Watermark("a", 3, 4))
    assert statements.noted == [[Watermark("a", 3, 4)]]


async def test_one_statement_moves_each_engine_by_its_own_rule(harness: LedgerHarness) -> None:
    ledger = await harness.replica()
    await ledger.note_watermarks([Watermark("ahead", 500, 600), Watermark("back", 500, 600), Watermark("even", 5, 6)])
    # The clock of "back" was put behind its mark.
    await ledger.note_watermarks([Watermark("ahead", 400, 700), Watermark("back", 100, 200), Watermark("new", 7, 8)])
    rows = await harness.rows("SELECT engine_id, watermark_ms, engine_time_ms FROM engines ORDER BY 1")
    found = [tuple(row) for row in rows if row[0] in {"ahead", "back", "even", "new"}]
    assert found == [("ahead", 500, 700), ("back", 100, 200), ("even", 5, 6), ("new", 7, 8)]
