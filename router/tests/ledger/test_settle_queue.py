"""Claims share transactions where they come often, and wait for company no longer than they must."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from enginehouse.api.router.v1 import grant_pb2
from enginehouse.router.ledger import Claim, Kind, LedgerUnavailable, Verdict
from enginehouse.router.ledger._settle_queue import SettleQueue

# Longer than any test lasts: what gathers so long is seen to wait.
LONG_S = 3600.0


class Transactions:
    """Stands for PostgreSQL: takes batches, and none with a bad claim."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.away = False
        self.bad = ""

    async def settle(self, claims: Sequence[Claim]) -> list[Verdict]:
        names = [claim.grant.grant_id for claim in claims]
        if self.away:
            raise LedgerUnavailable("away")
        if self.bad in names:
            raise ValueError(self.bad)
        self.batches.append(names)
        await asyncio.sleep(0)
        return [Verdict.ALREADY if name == "twice" else Verdict.SETTLED for name in names]


def claims(*names: str) -> list[Claim]:
    return [Claim(kind=Kind.REPORT, grant=grant_pb2.Grant(grant_id=name)) for name in names]


async def running(queue: SettleQueue) -> asyncio.Task[None]:
    return asyncio.create_task(queue.run())


async def test_the_first_is_settled_at_once_and_the_next_gather() -> None:
    done = Transactions()
    queue = SettleQueue(settle=done.settle, most=500, gather_s=LONG_S)
    task = await running(queue)
    assert await queue.put(claims("a", "twice")) == [Verdict.SETTLED, Verdict.ALREADY]
    second, third = queue.put(claims("b")), queue.put(claims("c", "d"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert done.batches == [["a", "twice"]]
    # Somebody waits for the money.
    queue.hurry()
    assert await second == [Verdict.SETTLED]
    assert await third == [Verdict.SETTLED] * 2
    assert done.batches == [["a", "twice"], ["b", "c", "d"]]
    task.cancel()


async def test_as_many_as_a_transaction_takes_wait_for_no_more() -> None:
    done = Transactions()
    queue = SettleQueue(settle=done.settle, most=3, gather_s=LONG_S)
    task = await running(queue)
    await queue.put(claims("a"))
    waiting = [queue.put(claims(name)) for name in "bcde"]
    await asyncio.gather(*waiting[:3])
    assert done.batches == [["a"], ["b", "c", "d"]]
    assert not waiting[3].done()
    await queue.drain()
    assert await waiting[3] == [Verdict.SETTLED]
    task.cancel()


async def test_what_gathers_is_settled_when_its_time_has_come() -> None:
    done = Transactions()
    queue = SettleQueue(settle=done.settle, most=500, gather_s=0.01)
    task = await running(queue)
    await queue.put(claims("a"))
    await queue.put(claims("b"))
    assert done.batches == [["a"], ["b"]]
    task.cancel()


async def test_a_bad_claim_keeps_no_other_from_settling() -> None:
    done = Transactions()
    done.bad = "bad"
    queue = SettleQueue(settle=done.settle, most=500, gather_s=0)
    good, mixed = queue.put(claims("a", "b")), queue.put(claims("c", "bad", "d"))
    await queue.drain()
    assert await good == [Verdict.SETTLED] * 2
    with pytest.raises(ValueError, match="bad"):
        await mixed
    assert sorted(name for batch in done.batches for name in batch) == ["a", "b", "c", "d"]


async def test_without_postgresql_every_group_is_told_so() -> None:
    done = Transactions()
    done.away = True
    queue = SettleQueue(settle=done.settle, most=500, gather_s=0)
    waiting = [queue.put(claims("a")), queue.put(claims("b", "c"))]
    await queue.drain()
    for group in waiting:
        with pytest.raises(LedgerUnavailable):
            await group
