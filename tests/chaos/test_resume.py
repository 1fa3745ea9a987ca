"""Engines killed in the middle of streams: the callers read the same answer as without the kill, and pay for it once.

`ENGINEHOUSE_KILLS=100` kills more often than the few times of every run.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from enginehouse.client import AsyncEnginehouse, AsyncGenerationStream, Generation, RetryPolicy
from tests.engines import EngineProcess, engine
from tests.mesh import Mesh, default_models

KILLS = int(os.environ.get("ENGINEHOUSE_KILLS", "6"))
SETTLED_S = 60.0
MODEL = "enginehouse-tiny"
PRICES = {
    unit: price // 1_000_000
    for model in default_models()["models"]
    if model["name"] == MODEL
    for unit, price in model["prices"].items()
}

ASKS: list[dict[str, Any]] = [
    {"prompt": "Once upon a time a clever crow", "temperature": 0},
    {"prompt": "The fox looked at the river and", "temperature": 0, "repeat_penalty": 1.3},
    {"messages": "Tell me a story about a tortoise", "temperature": 0},
    {"prompt": "In the old forest", "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 11},
    {"prompt": "ఒక ఊరిలో", "temperature": 0.9, "seed": 12, "frequency_penalty": 0.3},
    {"messages": "Tell me a story about a girl and a kite", "temperature": 0.8, "seed": 13},
    {"prompt": "The queen said", "temperature": 1.0, "seed": 14, "stop": ["\n\n\n", "The end"]},
]


@dataclass
class Cut:
    """A stream that an engine's death cut."""

    request_id: str
    attempts: int


@dataclass
class Seen:
    """The callers' results."""

    cuts: list[Cut] = field(default_factory=list)
    whole: list[Generation] = field(default_factory=list)
    kills: int = 0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A mesh whose engines are the test's own: a supervisor would give up restarting them."""
    with Mesh.started(config={"local": {"engines": {"inference": 0}}}) as running:
        yield running


@pytest.fixture(scope="module")
def engines(mesh: Mesh) -> Iterator[list[EngineProcess]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(engine(mesh, name, models=(MODEL,), environ=dict(os.environ)))
            for name in ("resume-1", "resume-2")
        ]


async def read(stream: AsyncGenerationStream, begun: asyncio.Event, *, after: int) -> Generation:
    """Read an answer; set `begun` at its first text, and check that the text only grows."""
    text = ""
    tokens = 0
    async with stream:
        async for message in stream.messages():
            for delta in message.deltas:
                text += delta.text
                tokens += delta.token_count
            if tokens >= after:
                begun.set()
                # Leaves the loop a moment to kill, as a slower model would.
                await asyncio.sleep(0)
        begun.set()
    assert stream.result.text == text
    return stream.result


@pytest.mark.timeout(300)
async def test_a_drained_engine_hands_its_streams_on(mesh: Mesh) -> None:
    _, key = mesh.create_key("drained", budget_nanos=10**12)
    ask: dict[str, Any] = {"prompt": "The fox", "model": MODEL, "temperature": 0, "repeat_penalty": 1.5}
    environ = {**os.environ, "ENGINEHOUSE_INFERENCE__DRAIN_S": "0"}
    with (
        engine(mesh, "drain-1", models=(MODEL,), environ=environ) as one,
        engine(mesh, "drain-2", models=(MODEL,), environ=environ) as other,
    ):
        async with AsyncEnginehouse(mesh.url, key, retries=RetryPolicy(max_attempts=12)) as client:
            uncut = await client.generate(max_output_tokens=400, **ask)
            cut = 0
            for victim in (one, other, one, other):
                begun = asyncio.Event()
                streams = [client.stream(max_output_tokens=400, **ask) for _ in range(3)]
                reading = [asyncio.create_task(read(stream, begun, after=3)) for stream in streams]
                await begun.wait()
                await asyncio.to_thread(victim.end)
                assert all(same(answer, uncut) for answer in await asyncio.gather(*reading))
                cut += sum(stream.attempts > 1 for stream in streams)
                if cut:
                    break
                await asyncio.to_thread(victim.start)
            assert cut


@pytest.mark.timeout(240 + 20 * KILLS)
async def test_a_killed_engine_changes_no_answer_and_no_price(mesh: Mesh, engines: list[EngineProcess]) -> None:
    key_id, key = mesh.create_key("resumed", budget_nanos=10**12)
    chance = random.Random()
    seen = Seen()
    async with AsyncEnginehouse(mesh.url, key, retries=RetryPolicy(max_attempts=12)) as client:
        asked = [{"model": MODEL, "max_output_tokens": 220, **ask} for ask in ASKS]
        uncut = [await client.generate(**ask) for ask in asked]
        seen.whole.extend(uncut)
        assert any(answer.usage["output_tokens"] > 100 for answer in uncut)
        while seen.kills < KILLS:
            chosen = chance.sample(range(len(asked)), 3)
            begun = asyncio.Event()
            streams = [client.stream(**asked[number]) for number in chosen]
            after = chance.randrange(1, 40)
            reading = [asyncio.create_task(read(stream, begun, after=after)) for stream in streams]
            await begun.wait()
            victim = engines[chance.randrange(2)]
            await asyncio.to_thread(victim.kill)
            answers = await asyncio.gather(*reading)
            for number, stream, answer in zip(chosen, streams, answers, strict=True):
                assert same(answer, uncut[number]), f"{asked[number]} after {stream.attempts} attempts"
                seen.whole.append(answer)
                if stream.attempts > 1:
                    seen.cuts.append(Cut(answer.request_id, stream.attempts))
            seen.kills += any(stream.attempts > 1 for stream in streams)
            await asyncio.to_thread(victim.start)
    await bills_agree(mesh, key_id, seen)


def same(answer: Generation, uncut: Generation) -> bool:
    """Return whether two answers have the same text and finish reason."""
    return (answer.text, answer.finish_reason, answer.stopped_by, answer.complete) == (
        uncut.text,
        uncut.finish_reason,
        uncut.stopped_by,
        True,
    )


@dataclass
class Bill:
    """The usage records of one request, added up."""

    units: Counter[str] = field(default_factory=Counter)
    cost_nanos: int = 0

    def over(self, answer: Generation) -> dict[str, int]:
        """The nano-dollars billed beyond the caller's figure; negative while a report is on its way."""
        return {unit: self.units[unit] - answer.usage.get(unit, 0) for unit in PRICES}


async def billed(admin: AsyncEnginehouse, key_id: str) -> dict[str, Bill]:
    """The ledger's usage rows by request of the key."""
    text = b"".join([part async for part in admin.billing.export_spend(key_id=key_id)]).decode()
    bills: dict[str, Bill] = defaultdict(Bill)
    for row in csv.DictReader(io.StringIO(text)):
        assert (row["kind"], row["unbilled_nanos"]) == ("report", "0")
        bill = bills[row["request_id"]]
        bill.units.update({unit: int(row[unit]) for unit in PRICES})
        bill.cost_nanos += int(row["cost_nanos"])
    return bills


async def bills_agree(mesh: Mesh, key_id: str, seen: Seen) -> None:
    """Check that delivered tokens are billed once; an engine's death adds only tokens in flight."""
    cut = {each.request_id for each in seen.cuts}
    deadline = time.monotonic() + SETTLED_S
    async with AsyncEnginehouse(mesh.url, mesh.key) as admin:
        while True:
            bills = await billed(admin, key_id)
            overs = [bills[answer.request_id].over(answer) for answer in seen.whole]
            total = sum(bill.cost_nanos for bill in bills.values())
            if min(min(over.values()) for over in overs) >= 0 and mesh.spend(key_id) == total:
                break
            assert time.monotonic() < deadline, "not every attempt was reported in time"
            await asyncio.sleep(0.2)
    lost: Counter[str] = Counter()
    for answer, over in zip(seen.whole, overs, strict=True):
        bill = bills[answer.request_id]
        assert answer.request_id in cut or not any(over.values())
        assert bill.cost_nanos == answer.cost_nanos + cost(over)
        assert answer.cost_nanos == cost(answer.usage)
        lost.update(over)
    delivered = sum(answer.usage["output_tokens"] for answer in seen.whole)
    resumed = sum(each.attempts - 1 for each in seen.cuts)
    print(
        f"{seen.kills} kills cut {len(seen.cuts)} streams, continued {resumed} times; of {delivered} tokens delivered "
        f"none differs; on their way when an engine died: {dict(lost)}"
    )


def cost(units: Mapping[str, int]) -> int:
    """Nano-dollars; the model's prices are whole nano-dollars a unit, so that sums need no rounding."""
    return sum(PRICES[unit] * amount for unit, amount in units.items())
