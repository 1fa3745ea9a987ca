"""The cache as a router has it: over PostgreSQL and Redis."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import cache_pb2
from enginehouse.router.cache import (
    CacheRules,
    CacheSettings,
    KeyPolicy,
    LookupResult,
)
from enginehouse.router.redis import SharedRedis
from router.tests.harness.cache import DEADLINE_S, CacheClock, CacheReplica, answer
from router.tests.harness.redis_server import RedisServer
from router.tests.harness.waiting import wait_for


async def test_an_answer_is_given_until_its_class_says_no_more(replica: CacheReplica, clock: CacheClock) -> None:
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
async def test_an_incomplete_answer_is_not_kept(replica: CacheReplica, bad: cache_pb2.Answer | None) -> None:
    _, grant = await replica.lookup()
    waiting, other = await replica.lookup()
    assert waiting.result is LookupResult.SHARED
    assert not await replica.cache.keep(grant, bad)
    # Who waited is told at once, and the next makes it.
    assert await replica.cache.replay(other) is None
    assert (await replica.lookup())[0].result is LookupResult.MISS
    assert len(replica.memory) == 0


async def test_a_request_that_is_refused_lets_the_next_go_ahead(replica: CacheReplica) -> None:
    found, grant = await replica.lookup()
    replica.cache.abandon(found, grant.grant_id)
    assert (await replica.lookup())[0].result is LookupResult.MISS


async def test_tenants_keys_and_everyone(database: AsyncEngine, clock: CacheClock) -> None:
    expected = {"tenant": (True, False), "key": (False, False), "everyone": (True, True)}
    for share, (same_tenant, other_tenant) in expected.items():
        replica = CacheReplica(database, clock=clock, settings=CacheSettings(share=share))  # type: ignore[arg-type]
        await replica.rules.reload()
        _, grant = await replica.lookup()
        await replica.cache.keep(grant, answer())
        for found, asking in (
            (same_tenant, replica.grant(key="key_2")),
            (other_tenant, replica.grant(tenant="ten_2", key="key_3")),
        ):
            assert ((await replica.lookup(grant=asking))[0].result is LookupResult.HIT) == found, share


async def test_an_experiments_message_has_answers_of_its_own(replica: CacheReplica) -> None:
    _, grant = await replica.lookup()
    await replica.cache.keep(grant, answer())
    steered = replica.grant()
    steered.system_prompt = "Be kind."
    assert (await replica.lookup(grant=steered))[0].result is LookupResult.MISS


async def test_a_tag_is_invalidated_on_every_router_and_for_answers_in_flight(
    database: AsyncEngine, clock: CacheClock
) -> None:
    one, two = CacheReplica(database, clock=clock), CacheReplica(database, clock=clock)
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


async def test_policies_reach_every_router(database: AsyncEngine, clock: CacheClock) -> None:
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
    one, two = CacheReplica(database, clock=clock), CacheReplica(database, clock=clock)
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
    database: AsyncEngine, clock: CacheClock, redis_server: RedisServer
) -> None:
    redis = SharedRedis(url=redis_server.url, timeout_s=DEADLINE_S)
    redis.start()
    try:
        await wait_for(lambda: redis.up)
        one = CacheReplica(database, clock=clock, redis=redis)
        two = CacheReplica(database, clock=clock, redis=redis)
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
        fresh = CacheReplica(database, clock=clock, redis=redis)
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
    database: AsyncEngine, clock: CacheClock, redis_server: RedisServer
) -> None:
    redis = SharedRedis(url=redis_server.url, timeout_s=DEADLINE_S)
    redis.start()
    one, two = (CacheReplica(database, clock=clock, redis=redis) for _ in range(2))
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
