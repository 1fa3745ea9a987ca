"""The replay endpoint of kept answers, over real gRPC and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.api import httpbody_pb2
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc, grant_pb2
from enginehouse.kit.grants import GrantKeys, sign
from enginehouse.kit.openai import TextServicer
from enginehouse.kit.server import EngineServer
from enginehouse.router.api.answers import AnswerServicer
from enginehouse.router.api.replay import ReplayCall, ReplayCalls, ReplayEngine, ReplayServicer
from enginehouse.router.cache import (
    LookupResult,
)
from router.tests.harness.cache import KEYS, CacheClock, CacheReplica, answer
from router.tests.harness.waiting import wait_for

EMBED = "/enginehouse.api.inference.v1.GenerationService/Embed"


CHAT = "/enginehouse.api.openai.v1.TextService/CreateChatCompletion"


@asynccontextmanager
async def served(replica: CacheReplica) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the router's services for kept answers."""
    calls = ReplayCalls(
        cache=replica.cache, grant_keys=KEYS, hits=replica.hits, metrics=replica.metrics, clock=replica.clock
    )
    engine = ReplayEngine()
    openai: TextServicer[ReplayCall] = TextServicer(engine=engine, accept=calls.accept)
    handed = AnswerServicer(cache=replica.cache, grant_keys=KEYS, clock=replica.clock)
    server = EngineServer(
        listen="127.0.0.1:0",
        services=[
            lambda to: generation_pb2_grpc.add_GenerationServiceServicer_to_server(
                ReplayServicer(engine=engine, calls=calls), to
            ),
            lambda to: text_pb2_grpc.add_TextServiceServicer_to_server(openai, to),
            lambda to: cache_pb2_grpc.add_AnswerServiceServicer_to_server(handed, to),
        ],
        drain_s=1,
    )
    address = await server.start()
    async with grpc.aio.insecure_channel(str(address)) as channel:
        yield channel
    await server.drain()


def granted(grant: grant_pb2.Grant, keys: GrantKeys = KEYS) -> tuple[tuple[str, str], ...]:
    return (("x-enginehouse-grant", sign(grant, keys=keys)),)


def reason(error: grpc.aio.AioRpcError) -> str:
    status = status_pb2.Status.FromString(dict(error.trailing_metadata() or ())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return str(info.reason)


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in call:
            pass
    return reason(refused.value)


async def test_the_replay_endpoint_takes_the_routers_grants_and_each_once(
    replica: CacheReplica, clock: CacheClock
) -> None:
    _, grant = await replica.lookup()
    async with served(replica) as channel:
        text = generation_pb2_grpc.GenerationServiceStub(channel)
        request = generation_pb2.GenerateRequest(prompt="Hello?")
        stored = await cache_pb2_grpc.AnswerServiceStub(channel).Store(
            cache_pb2.StoreRequest(grant=sign(grant, keys=KEYS), answer=answer())
        )
        assert stored.kept
        _, given = await replica.lookup()
        call = text.Generate(request, metadata=granted(given))
        messages = [message async for message in call]
        assert "".join(delta.text for message in messages for delta in message.deltas) == "Hello!"
        assert len(messages) == 2
        assert messages[0].request_id == "req_1"
        assert messages[-1].deltas[-1].finish_reason == generation_pb2.FINISH_REASON_STOP
        assert messages[-1].summary.usage.cost_nanos == 0
        assert messages[-1].summary.usage.units[0].amount == 3
        assert dict(await call.trailing_metadata())["x-enginehouse-cost-nanos"] == "0"

        assert await refusal(text.Generate(request, metadata=granted(given))) == "GRANT_REPLAYED"
        assert await refusal(text.Generate(request)) == "GRANT_MISSING"
        forged = GrantKeys({"k": b"x" * 32})
        assert await refusal(text.Generate(request, metadata=granted(given, forged))) == "GRANT_INVALID"
        # An engine's grant is none for this door, nor is one for another method.
        assert await refusal(text.Generate(request, metadata=granted(replica.grant()))) == "GRANT_INVALID"
        _, other = await replica.lookup(grant=replica.grant(method=CHAT))
        assert await refusal(text.Generate(request, metadata=granted(other))) == "GRANT_INVALID"
        _, late = await replica.lookup()
        clock.now_ms += 10_001
        assert await refusal(text.Generate(request, metadata=granted(late))) == "GRANT_EXPIRED"
        # Through OpenAI's door it is the same answer.
        _, other = await replica.lookup(grant=replica.grant(method=CHAT))
        body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello?"}]}
        call = text_pb2_grpc.TextServiceStub(channel).CreateChatCompletion(
            httpbody_pb2.HttpBody(data=json.dumps(body).encode()), metadata=granted(other)
        )
        completed = json.loads(b"".join([part.data async for part in call]))
        assert completed["choices"][0]["message"]["content"] == "Hello!"
        assert completed["choices"][0]["finish_reason"] == "stop"
        assert completed["usage"]["cost_nanos"] == 0


async def test_who_waits_is_told_when_there_is_nothing_to_wait_for(database: AsyncEngine, clock: CacheClock) -> None:
    alive = {"engine-1"}
    replica = CacheReplica(database, clock=clock, alive=alive)
    await replica.rules.reload()
    async with served(replica) as channel:
        text = generation_pb2_grpc.GenerationServiceStub(channel)
        request = generation_pb2.GenerateRequest(prompt="Hello?")

        async def wait() -> tuple[grant_pb2.Grant, asyncio.Task[str]]:
            found, first = await replica.lookup()
            assert found.result is LookupResult.MISS
            found, second = await replica.lookup()
            assert found.result is LookupResult.SHARED
            task = asyncio.create_task(refusal(text.Generate(request, metadata=granted(second))))
            await wait_for(lambda: replica.coalescer.waiting == 1)
            return first, task

        first, waiting = await wait()
        handed = cache_pb2_grpc.AnswerServiceStub(channel)
        assert not (await handed.Store(cache_pb2.StoreRequest(grant=sign(first, keys=KEYS)))).kept
        assert await waiting == "ANSWER_LOST"

        _, waiting = await wait()
        alive.clear()
        assert await waiting == "ANSWER_LOST"
        alive.add("engine-1")

        _, first = await replica.lookup()
        _, second = await replica.lookup()
        call = text.Generate(request, metadata=granted(second))
        await wait_for(lambda: replica.coalescer.waiting == 1)
        await handed.Store(cache_pb2.StoreRequest(grant=sign(first, keys=KEYS), answer=answer("There it is")))
        messages = [message async for message in call]
        assert "".join(delta.text for message in messages for delta in message.deltas) == "There it is"
        # One who does not wait to the end leaves nothing behind.
        await replica.lookup("Another?")
        _, third = await replica.lookup("Another?")
        call = text.Generate(request, metadata=granted(third))
        await wait_for(lambda: replica.coalescer.waiting == 1)
        call.cancel()
        await wait_for(lambda: replica.coalescer.waiting == 0)


async def test_a_router_that_promised_nothing_gives_what_it_has_or_says_that_it_is_lost(
    database: AsyncEngine, clock: CacheClock
) -> None:
    one, two = CacheReplica(database, clock=clock), CacheReplica(database, clock=clock)
    for replica in (one, two):
        await replica.rules.reload()
    _, grant = await one.lookup()
    await one.cache.keep(grant, answer())
    async with served(two) as channel:
        text = generation_pb2_grpc.GenerationServiceStub(channel)
        request = generation_pb2.GenerateRequest(prompt="Hello?")
        assert await refusal(text.Generate(request, metadata=granted((await one.lookup())[1]))) == "ANSWER_LOST"
        _, grant = await two.lookup()
        await two.cache.keep(grant, answer())
        messages = [m async for m in text.Generate(request, metadata=granted((await one.lookup())[1]))]
        assert messages[-1].HasField("summary")


async def test_only_engines_with_a_grant_hand_answers_over(replica: CacheReplica, clock: CacheClock) -> None:
    _, grant = await replica.lookup()
    async with served(replica) as channel:
        handed = cache_pb2_grpc.AnswerServiceStub(channel)

        async def refused(token: str) -> str:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await handed.Store(cache_pb2.StoreRequest(grant=token, answer=answer()))
            return reason(error.value)

        assert await refused("") == "GRANT_MISSING"
        assert await refused(sign(grant, keys=GrantKeys({"k": b"x" * 32}))) == "GRANT_INVALID"
        assert await refused(sign(replica.grant(), keys=KEYS)) == "GRANT_INVALID"
        clock.now_ms = grant.expires_at_ms + 60_001
        assert await refused(sign(grant, keys=KEYS)) == "GRANT_EXPIRED"
    assert len(replica.memory) == 0


async def test_each_hit_is_on_record_and_costs_nothing(database: AsyncEngine, replica: CacheReplica) -> None:
    _, grant = await replica.lookup()
    await replica.cache.keep(grant, answer())
    replica.hits.start()
    async with served(replica) as channel:
        text = generation_pb2_grpc.GenerationServiceStub(channel)
        for _ in range(3):
            _, given = await replica.lookup()
            async for _ in text.Generate(generation_pb2.GenerateRequest(prompt="x"), metadata=granted(given)):
                pass
    await replica.hits.close()
    async with database.connect() as connection:
        rows = (
            await connection.execute(
                sa.text(
                    "SELECT tenant_id, key_id, model, service, cost_nanos, output_tokens, engine_id, outcome FROM usage"
                )
            )
        ).all()
    assert [tuple(row) for row in rows] == [("ten_1", "key_1", "tiny", "inference", 0, 0, "cache-1", "completed")] * 3
