"""The cache as a router has it: over real gRPC, PostgreSQL and Redis."""

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
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc, grant_pb2
from enginehouse.kit.grants import GrantKeys, sign
from enginehouse.kit.openai import TextServicer
from enginehouse.kit.server import EngineServer
from enginehouse.router.api.answers import AnswerServicer
from enginehouse.router.api.replay import ReplayCall, ReplayCalls, ReplayEngine, ReplayServicer
from enginehouse.router.cache import (
    CACHE_CHANNEL,
    AnswerMemory,
    CacheLookup,
    CacheMetrics,
    CacheRules,
    CacheSettings,
    CacheStore,
    DirectiveParser,
    HitRecorder,
    KeyPolicy,
    LookupResult,
    QuestionEmbedder,
    RequestCoalescer,
    ResponseCache,
    SemanticIndex,
    SharedAnswers,
)
from enginehouse.router.database import Listener
from enginehouse.router.redis import SharedRedis
from router.tests.cache.test_canonical import model
from router.tests.harness.redis_server import RedisServer
from router.tests.harness.waiting import wait_for

KEYS = GrantKeys({"k": b"s" * 32})
GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
EMBED = "/enginehouse.api.inference.v1.GenerationService/Embed"
CHAT = "/enginehouse.api.openai.v1.TextService/CreateChatCompletion"
DEADLINE_S = 60
USE = {b"x-enginehouse-cache": b"use"}
TINY = model(name="tiny")


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now_ms

    def seconds(self) -> float:
        return self.now_ms / 1000


class Replica:
    """One router's cache, without the rest of it."""

    def __init__(
        self,
        database: AsyncEngine,
        *,
        clock: Clock,
        redis: SharedRedis | None = None,
        settings: CacheSettings | None = None,
        alive: set[str] | None = None,
    ) -> None:
        self.clock = clock
        self.settings = settings or CacheSettings()
        self.store = CacheStore(database=database)
        self.rules = CacheRules(store=self.store)
        self.listener = Listener(
            database=database, handlers={CACHE_CHANNEL: self.rules.changed}, on_connect=self.rules.reload
        )
        self.memory = AnswerMemory(max_bytes=self.settings.max_bytes, clock=clock)
        self.metrics = CacheMetrics(registry=CollectorRegistry())
        live = {"engine-1"} if alive is None else alive
        self.coalescer = RequestCoalescer(wait_s=30, max_waiting=100, alive=live.__contains__, now_s=clock.seconds)
        shared = SharedAnswers(redis=redis, timeout_s=DEADLINE_S, max_bytes=1 << 20, clock=clock) if redis else None
        self.cache = ResponseCache(
            settings=self.settings,
            rules=self.rules,
            memory=self.memory,
            shared=shared,
            coalescer=self.coalescer,
            index=SemanticIndex(max_entries=10),
            embedder=QuestionEmbedder(model="m", engines=lambda _: (), grant_keys=KEYS, clock=clock, timeout_s=0.1),
            metrics=self.metrics,
            clock=clock,
            receives_changes=lambda: self.listener.connected,
        )
        self.cache.address = "127.0.0.1:1"
        self.hits = HitRecorder(
            database=database, engine_id="cache-1", service_of=lambda grant, name: "inference", clock=clock
        )
        self._numbers = iter(range(1, 1_000_000))

    def grant(self, *, method: str = GENERATE, tenant: str = "ten_1", key: str = "key_1") -> grant_pb2.Grant:
        now = self.clock()
        return grant_pb2.Grant(
            grant_id=f"grn_{next(self._numbers)}",
            request_id="req_1",
            attempt=1,
            method=method,
            principal=grant_pb2.Principal(tenant_id=tenant, key_id=key),
            candidates=[grant_pb2.GrantCandidate(model="tiny", cap_nanos=1000)],
            issued_at_ms=now,
            accept_by_ms=now + 10_000,
            expires_at_ms=now + 60_000,
        )

    async def lookup(
        self, text: str = "Hello?", *, grant: grant_pb2.Grant | None = None, headers: dict[bytes, bytes] | None = None
    ) -> tuple[CacheLookup, grant_pb2.Grant]:
        grant = grant or self.grant()
        directives = DirectiveParser(settings=self.settings).parse(USE | (headers or {}), self.rules.policy("key_1"))
        assert directives is not None
        request = generation_pb2.GenerateRequest(prompt=text, sampling=generation_pb2.Sampling(temperature=0))
        found = await self.cache.lookup(
            directives,
            method=GENERATE,
            message=request.SerializeToString(),
            model=TINY,
            engine_id="engine-1",
            grant=grant,
        )
        return found, grant


def answer(text: str = "Hello!", **changes: Any) -> cache_pb2.Answer:
    last = generation_pb2.ChoiceDelta(text=text[2:], finish_reason=generation_pb2.FINISH_REASON_STOP, token_count=2)
    made: dict[str, Any] = {
        "model": "tiny",
        "deltas": [generation_pb2.ChoiceDelta(text=text[:2], token_count=1), last],
        "usage": usage_pb2.Usage(units=[usage_pb2.UnitAmount(unit=1, amount=3)], cost_nanos=77),
    }
    return cache_pb2.Answer(generated=cache_pb2.GeneratedAnswer(**(made | changes)))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def replica(database: AsyncEngine, clock: Clock) -> Replica:
    made = Replica(database, clock=clock)
    await made.rules.reload()
    return made


async def test_an_answer_is_given_until_its_class_says_no_more(replica: Replica, clock: Clock) -> None:
    week_ms = 7 * 86_400_000
    factual = {b"x-enginehouse-cache-class": b"factual"}
    found, grant = await replica.lookup(headers=factual)
    assert found.result is LookupResult.MISS
    assert grant.keep.keep_ms == week_ms
    assert grant.keep.address == "127.0.0.1:1"
    assert await replica.cache.keep(grant, answer())
    clock.now_ms += week_ms - 1
    found, grant = await replica.lookup(headers=factual)
    assert found.result is LookupResult.HIT
    assert not grant.candidates
    assert not grant.HasField("keep")
    clock.now_ms += 1
    assert (await replica.lookup(headers=factual))[0].result is LookupResult.MISS


@pytest.mark.parametrize(
    "bad",
    [
        None,
        answer(deltas=[generation_pb2.ChoiceDelta(text="cut off")]),
        answer(deltas=[]),
        answer(
            deltas=[
                generation_pb2.ChoiceDelta(text="a", finish_reason=generation_pb2.FINISH_REASON_STOP),
                generation_pb2.ChoiceDelta(index=1, text="the other choice was cut off"),
            ]
        ),
        answer(
            deltas=[
                generation_pb2.ChoiceDelta(
                    text="a",
                    finish_reason=generation_pb2.FINISH_REASON_LENGTH,
                    stopped_by=generation_pb2.STOPPED_BY_BUDGET,
                )
            ]
        ),
        answer(model="another"),
        answer("x" * 300_000),
        cache_pb2.Answer(),
        cache_pb2.Answer(embedded=cache_pb2.EmbeddedAnswer(model="tiny")),
    ],
    ids=["none", "no end", "empty", "one choice", "budget", "another model", "too large", "no kind", "no vectors"],
)
async def test_what_is_no_whole_answer_is_not_kept(replica: Replica, bad: cache_pb2.Answer | None) -> None:
    _, grant = await replica.lookup()
    waiting, other = await replica.lookup()
    assert waiting.result is LookupResult.SHARED
    assert not await replica.cache.keep(grant, bad)
    # Who waited is told at once, and the next makes it.
    assert await replica.cache.replay(other) is None
    assert (await replica.lookup())[0].result is LookupResult.MISS
    assert len(replica.memory) == 0


async def test_a_request_that_is_refused_lets_the_next_go_ahead(replica: Replica) -> None:
    found, grant = await replica.lookup()
    replica.cache.abandon(found, grant.grant_id)
    assert (await replica.lookup())[0].result is LookupResult.MISS


async def test_tenants_keys_and_everyone(database: AsyncEngine, clock: Clock) -> None:
    expected = {"tenant": (True, False), "key": (False, False), "everyone": (True, True)}
    for share, (same_tenant, other_tenant) in expected.items():
        replica = Replica(database, clock=clock, settings=CacheSettings(share=share))  # type: ignore[arg-type]
        await replica.rules.reload()
        _, grant = await replica.lookup()
        await replica.cache.keep(grant, answer())
        for found, asking in (
            (same_tenant, replica.grant(key="key_2")),
            (other_tenant, replica.grant(tenant="ten_2", key="key_3")),
        ):
            assert ((await replica.lookup(grant=asking))[0].result is LookupResult.HIT) == found, share


async def test_an_experiments_message_has_answers_of_its_own(replica: Replica) -> None:
    _, grant = await replica.lookup()
    await replica.cache.keep(grant, answer())
    steered = replica.grant()
    steered.system_prompt = "Be kind."
    assert (await replica.lookup(grant=steered))[0].result is LookupResult.MISS


async def test_a_tag_falls_on_every_router_and_takes_what_is_being_made(database: AsyncEngine, clock: Clock) -> None:
    one, two = Replica(database, clock=clock), Replica(database, clock=clock)
    tagged = {b"x-enginehouse-cache-tags": b"collection:physics@7"}
    # Before a router hears of changes, it gives nothing that could have been invalidated.
    await two.rules.reload()
    assert (await two.lookup(headers=tagged))[0].result is LookupResult.BYPASS
    one.listener.start()
    two.listener.start()
    try:
        await wait_for(lambda: one.listener.connected and two.listener.connected)
        for replica in (one, two):
            _, grant = await replica.lookup(headers=tagged)
            await replica.cache.keep(grant, answer())
            assert (await replica.lookup(headers=tagged))[0].result is LookupResult.HIT
        _, begun = await two.lookup("Being made?", headers=tagged)

        await one.store.invalidate(tenant_id="", tag="collection:physics", now_ms=clock())
        changed = two.rules.epochs("ten_1", ["collection:physics@7"])
        before = CacheRules(store=two.store).epochs("ten_1", ["collection:physics@7"])
        if changed == before:
            await wait_for(lambda: two.rules.epochs("ten_1", ["collection:physics@7"]) != before)
        await wait_for(lambda: one.rules.epochs("ten_1", ["collection:physics@7"]) != before)
        for replica in (one, two):
            assert (await replica.lookup(headers=tagged))[0].result is LookupResult.MISS
        # The answer that was begun before is kept under what nobody asks for any more.
        await two.cache.keep(begun, answer())
        assert (await two.lookup("Being made?", headers=tagged))[0].result is LookupResult.MISS
        # Another tag, another version and another tenant are as they were.
        assert one.rules.epochs("ten_1", ["x"]) == CacheRules(store=one.store).epochs("ten_1", ["x"])
        await one.store.invalidate(tenant_id="ten_2", tag="x", now_ms=clock())
        await wait_for(lambda: two.rules.epochs("ten_2", ["x"]) != two.rules.epochs("ten_1", ["x"]))
    finally:
        await one.listener.close()
        await two.listener.close()
    assert (await one.lookup(headers=tagged))[0].result is LookupResult.BYPASS


async def test_policies_reach_every_router(database: AsyncEngine, clock: Clock) -> None:
    async with database.begin() as connection:
        await connection.execute(
            sa.text("INSERT INTO tenants (tenant_id, name, tier, created_at_ms) VALUES ('ten_1', 't', 'pro', 1)")
        )
        columns = (
            await connection.execute(
                sa.text(
                    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'api_keys' "
                    "AND is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'"
                )
            )
        ).all()
        plain = {"text": "''", "bytea": "''::bytea", "ARRAY": "'{}'", "integer": "0", "bigint": "0", "boolean": "false"}
        values = {name: plain[kind] for name, kind in columns} | {"key_id": "'key_1'", "tenant_id": "'ten_1'"}
        await connection.execute(
            sa.text(f"INSERT INTO api_keys ({', '.join(values)}) VALUES ({', '.join(values.values())})")
        )
    one, two = Replica(database, clock=clock), Replica(database, clock=clock)
    two.listener.start()
    try:
        await wait_for(lambda: two.listener.connected)
        wanted = KeyPolicy("key_1", cache_pb2.CACHE_MODE_ALWAYS, cache_pb2.CACHE_CLASS_FACTUAL, True, 0.8)
        assert await one.store.set_policy(wanted, now_ms=clock())
        await wait_for(lambda: two.rules.policy("key_1") == wanted)
        assert not await one.store.set_policy(KeyPolicy("key_9", 0, 0, False, 0.0), now_ms=clock())
        assert await one.store.list_policies(after="", count=5) == [wanted]
    finally:
        await two.listener.close()


async def test_routers_share_over_redis_and_go_on_alone_without(
    database: AsyncEngine, clock: Clock, redis_server: RedisServer
) -> None:
    redis = SharedRedis(url=redis_server.url, timeout_s=DEADLINE_S)
    redis.start()
    try:
        await wait_for(lambda: redis.up)
        one = Replica(database, clock=clock, redis=redis)
        two = Replica(database, clock=clock, redis=redis)
        for replica in (one, two):
            await replica.rules.reload()
        _, grant = await one.lookup()
        assert await one.cache.keep(grant, answer())
        found, given = await two.lookup()
        assert found.result is LookupResult.HIT
        assert await two.cache.replay(given) == answer()
        # What somebody else wrote there is no answer.
        key = (await two.lookup("Garbage?"))[1].keep.key
        await redis.ask(lambda client: client.set(b"eh:cache:" + key, b"\x00" * 7))
        assert await two.cache.find(key) is None
        far = (clock() + 60_000).to_bytes(8, "big")
        await redis.ask(lambda client: client.set(b"eh:cache:" + key, far + b"\xff\xff"))
        found, given = await two.lookup("Garbage?")
        assert found.result is LookupResult.HIT
        assert await two.cache.replay(given) is None
        # Redis keeps it no longer than it is good.
        left_ms = await redis.ask(lambda client: client.pttl(b"eh:cache:" + grant.keep.key))
        assert 0 < left_ms <= grant.keep.keep_ms
        redis_server.kill()
        assert (await one.lookup("Alone?"))[0].result is LookupResult.MISS
        assert (await one.lookup())[0].result is LookupResult.HIT
        fresh = Replica(database, clock=clock, redis=redis)
        await fresh.rules.reload()
        found, grant = await fresh.lookup()
        assert found.result is LookupResult.MISS
        assert await fresh.cache.keep(grant, answer())
        assert (await fresh.lookup())[0].result is LookupResult.HIT
        redis_server.start()
        await wait_for(lambda: redis.up)
    finally:
        await redis.close()


async def test_equal_requests_at_two_routers_are_made_once(
    database: AsyncEngine, clock: Clock, redis_server: RedisServer
) -> None:
    redis = SharedRedis(url=redis_server.url, timeout_s=DEADLINE_S)
    redis.start()
    one, two = (Replica(database, clock=clock, redis=redis) for _ in range(2))
    try:
        await wait_for(lambda: redis.up)
        for replica in (one, two):
            await replica.rules.reload()
        found, first = await one.lookup()
        assert found.result is LookupResult.MISS
        waits = [await two.lookup() for _ in range(3)]
        assert {found.result for found, _ in waits} == {LookupResult.SHARED}
        waiting = [asyncio.create_task(two.cache.replay(grant)) for _, grant in waits]
        await one.cache.keep(first, answer())
        assert await asyncio.gather(*waiting) == [answer()] * 3
        # One that ends without an answer lets the other router go ahead.
        for end in ("no answer", "refused"):
            found, first = await one.lookup(end)
            shared, second = await two.lookup(end)
            assert (found.result, shared.result) == (LookupResult.MISS, LookupResult.SHARED)
            waits_for = asyncio.create_task(two.cache.replay(second))
            if end == "refused":
                one.cache.abandon(found, first.grant_id)
            else:
                await one.cache.keep(first, None)
            assert await waits_for is None
            assert (await two.lookup(end))[0].result is LookupResult.MISS
        # Without Redis each goes ahead by itself, and who waited is told.
        await one.lookup("cut off")
        _, second = await two.lookup("cut off")
        redis_server.kill()
        assert await two.cache.replay(second) is None
        assert (await two.lookup("cut off"))[0].result is LookupResult.MISS
    finally:
        for replica in (one, two):
            await replica.cache.close()
        await redis.close()


@asynccontextmanager
async def served(replica: Replica) -> AsyncIterator[grpc.aio.Channel]:
    """The router's doors for kept answers."""
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


async def test_the_replay_endpoint_takes_the_routers_grants_and_each_once(replica: Replica, clock: Clock) -> None:
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


async def test_who_waits_is_told_when_there_is_nothing_to_wait_for(database: AsyncEngine, clock: Clock) -> None:
    alive = {"engine-1"}
    replica = Replica(database, clock=clock, alive=alive)
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
    database: AsyncEngine, clock: Clock
) -> None:
    one, two = Replica(database, clock=clock), Replica(database, clock=clock)
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


async def test_only_engines_with_a_grant_hand_answers_over(replica: Replica, clock: Clock) -> None:
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


async def test_each_hit_is_on_record_and_costs_nothing(database: AsyncEngine, replica: Replica) -> None:
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
