"""Limits that several replicas share, over a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.ids import new_id
from enginehouse.router.limits import Bounds, Limiter, LimitReservation, SharedBuckets
from enginehouse.router.redis import SharedRedis
from router.tests.harness.admin_calls import call
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.redis_server import RedisServer
from router.tests.harness.router_process import RouterFactory
from router.tests.harness.waiting import wait_for, wait_until

pytestmark = pytest.mark.timeout(100)


def bounds(*, requests: int = 0, tokens: int = 0, concurrency: int = 0, subject: str = "") -> Bounds:
    return Bounds(subject or new_id("key"), "key", requests, tokens, concurrency)


class Replica:
    """A router's part in the shared limits."""

    def __init__(self, url: str, *, slack: float, peers: int) -> None:
        self.redis = SharedRedis(url=url, timeout_s=5)
        self.sharing = SharedBuckets(
            redis=self.redis,
            replica=new_id("router"),
            slack=slack,
            peers=lambda: peers,
            now_s=time.monotonic,
            beat_s=0.1,
            slots_ttl_s=2,
        )
        self.limiter = Limiter(now_s=time.monotonic, sharing=self.sharing)

    def start(self) -> None:
        self.redis.start()
        self.sharing.start()

    async def close(self) -> None:
        await self.sharing.close()
        await self.redis.close()

    async def admits(self, one: Bounds, *, tokens: int = 0) -> LimitReservation | None:
        try:
            return await self.limiter.admit([one], tokens=tokens)
        except ServiceError as error:
            assert error.reason in (Reason.RATE_LIMITED, Reason.TOKENS_LIMITED, Reason.CONCURRENCY_LIMITED)
            assert error.retry_after_s
            return None


def _joined(sharing: SharedBuckets, count: int, slack: float) -> bool:
    return not sharing.alone and sharing.replicas == count and sharing.slack == slack


@contextlib.asynccontextmanager
async def replicas(server: RedisServer, count: int, *, slack: float) -> AsyncIterator[list[Replica]]:
    """Replicas that know of each other and have their floats."""
    made = [Replica(server.url, slack=slack, peers=count) for _ in range(count)]
    for replica in made:
        replica.start()
    await wait_for(lambda: all(_joined(replica.sharing, count, slack) for replica in made))
    try:
        yield made
    finally:
        for replica in made:
            await replica.close()


async def hammer(made: Sequence[Replica], one: Bounds, *, calls: int, tokens: int = 0) -> list[tuple[float, float]]:
    """Ask everywhere at once; return when each admitted request began and ended asking."""
    admitted: list[tuple[float, float]] = []

    async def send(replica: Replica, pauses: random.Random) -> None:
        for _ in range(calls):
            began = time.monotonic()
            if await replica.admits(one, tokens=tokens):
                admitted.append((began, time.monotonic()))
            await asyncio.sleep(pauses.choice((0, 0, 0.001, 0.005)))

    await asyncio.gather(*(send(replica, random.Random(at)) for at, replica in enumerate(made)))
    return sorted(admitted, key=lambda pair: pair[1])


def assert_within(admitted: Sequence[tuple[float, float]], limit: int, over: float, units: int = 1) -> None:
    """Check that no interval admitted more than a minute's worth, the refill of that time, and the stated excess."""
    for first in range(0, len(admitted), 7):
        began = admitted[first][0]
        for last in range(first, len(admitted)):
            stretch = admitted[last][1] - began
            assert (last - first + 1) * units <= limit + stretch * limit / 60 + over + 1


async def test_small_limits_are_exact_whoever_is_asked(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 3, slack=0.1) as made:
        one = bounds(requests=5)
        began = time.monotonic()
        admitted = await hammer(made, one, calls=20)
        assert 5 <= len(admitted) <= 5 + (time.monotonic() - began) * 5 / 60 + 1


async def test_exact_when_asked_to_be(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 4, slack=0) as made:
        one = bounds(requests=300)
        admitted = await hammer(made, one, calls=200)
        assert len(admitted) >= 300
        assert_within(admitted, 300, over=0)
        assert sum(replica.sharing.asked for replica in made) >= 300


async def test_four_replicas_stay_within_the_stated_bound(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 4, slack=0.1) as made:
        one = bounds(requests=1200)
        admitted = await hammer(made, one, calls=600)
        assert len(admitted) >= 1200
        assert_within(admitted, 1200, over=0.1 * 1200)
        assert sum(replica.sharing.asked for replica in made) < 1200, "most requests ask nobody"


async def test_tokens_are_shared_and_given_back(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 2, slack=0.1) as made:
        one = bounds(tokens=10_000)
        held = [await made[0].admits(one, tokens=4_000), await made[1].admits(one, tokens=4_000)]
        assert all(held)
        assert await made[0].admits(one, tokens=4_000) is None
        for each in held:
            assert each is not None
            each.release(0)

        async def again() -> bool:
            return bool(await made[1].admits(one, tokens=9_000))

        await wait_until(again, True, within_s=60)
        assert await made[0].admits(one, tokens=9_000) is None
        admitted = await hammer(made, bounds(tokens=60_000), calls=300, tokens=500)
        assert_within(admitted, 60_000, over=0.1 * 60_000, units=500)


async def test_slots_are_counted_over_all_replicas(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 3, slack=0.1) as made:
        one = bounds(concurrency=6)
        held = [await replica.admits(one) for _ in range(4) for replica in made]
        assert len([each for each in held if each]) == 6
        next(each for each in held if each).release(None)

        async def admitted() -> bool:
            return bool(await made[2].admits(one))

        await wait_until(admitted, True, within_s=60)
        assert await made[0].admits(one) is None


async def test_a_dead_replicas_slots_come_free(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 2, slack=0) as made:
        one = bounds(concurrency=1)
        assert await made[0].admits(one)
        # As when its process is killed: nothing is told any more.
        made[0].sharing._closing = True
        assert await made[1].admits(one) is None

        async def admitted() -> bool:
            return bool(await made[1].admits(one))

        await wait_until(admitted, True, within_s=60)


async def test_without_redis_each_has_its_share_and_nobody_waits(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 2, slack=0.1) as made:
        redis_server.kill()
        one, few, slots = bounds(requests=100), bounds(requests=1), bounds(concurrency=3)
        first = await hammer(made, one, calls=200)
        assert len(first) >= 100
        assert_within(first, 100, over=0.1 * 100 + 2)
        assert all(replica.sharing.alone for replica in made)
        assert len(await hammer(made, few, calls=5)) == 2, "a share is one request at least"
        assert len([each for _ in range(5) for each in [await made[0].admits(slots)] if each]) == 2
        whole = bounds(tokens=1000)
        assert await made[0].admits(whole, tokens=900), "a request over the share waits for the whole of it, no longer"
        assert await made[0].admits(whole, tokens=10) is None


async def test_a_redis_that_comes_back_empty_is_told(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 2, slack=0.1) as made:
        one = bounds(requests=600)
        before = await hammer(made, one, calls=400)
        assert len(before) >= 600
        redis_server.kill()
        redis_server.start()
        await wait_for(lambda: all(not replica.sharing.alone for replica in made))
        after = await hammer(made, one, calls=50)
        assert_within(sorted(before + after, key=lambda pair: pair[1]), 600, over=2 * 0.1 * 600 + 2)


async def test_what_was_used_alone_counts_when_redis_is_back(redis_server: RedisServer) -> None:
    async with replicas(redis_server, 2, slack=0.1) as made:
        one = bounds(requests=60)
        redis_server.kill()
        alone = await hammer(made, one, calls=40)
        assert len(alone) >= 60
        redis_server.start()
        await wait_for(lambda: all(not replica.sharing.alone for replica in made))
        after = await hammer(made, one, calls=20)
        assert_within(sorted(alone + after, key=lambda pair: pair[1]), 60, over=2 * 0.1 * 60 + 2)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 600),
    slack=st.sampled_from([0.0, 0.1, 0.5]),
    schedule=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60), st.sampled_from([0, 0, 0.03])), max_size=40),
)
def test_no_schedule_gets_more_than_the_bound(
    redis_server: RedisServer, limit: int, slack: float, schedule: list[tuple[int, int, float]]
) -> None:
    async def run() -> None:
        made = [Replica(redis_server.url, slack=slack, peers=3) for _ in range(3)]
        for replica in made:
            replica.start()
        await wait_for(lambda: all(_joined(replica.sharing, 3, slack) for replica in made))
        one, admitted = bounds(requests=limit), []
        for at, burst, pause in schedule:
            began = time.monotonic()
            found = await asyncio.gather(*(made[at].admits(one) for _ in range(burst)))
            ended = time.monotonic()
            admitted += [(began, ended) for each in found if each]
            await asyncio.sleep(pause)
        for replica in made:
            await replica.close()
        assert_within(admitted, limit, over=slack * limit)

    asyncio.run(run())


async def test_two_routers_share_a_keys_limit(redis_server: RedisServer, make_router: RouterFactory) -> None:
    made = [make_router(extra=f"\n  redis_url: {redis_server.url}") for _ in range(2)]
    for router in made:
        router.start()
    await made[0].create_first_key()
    for router in made:
        await router.ready()
        await wait_until(lambda router=router: router.metric("enginehouse_router_keys"), 1.0, within_s=60)
    request = admin_pb2.CreateKeyRequest(name="k", limits=admin_pb2.Limits(requests_per_minute=20))
    key = await call(made[0], made[0].key, "AdminService/CreateKey", request)
    await wait_until(lambda: made[1].metric("enginehouse_router_keys"), 2.0, within_s=60)
    found = SharedRedis(url=redis_server.url, timeout_s=5)
    found.start()
    await wait_for(lambda: found.up)

    async def joined() -> int:
        return int(await found.ask(lambda client: client.zcard("eh:limits:replicas")))

    await wait_until(joined, 2, within_s=60)
    await found.close()
    began = time.monotonic()
    statuses = [(await made[at % 2].generate(key.secret)).status_code for at in range(60)]
    assert set(statuses) == {200, 429}
    assert 20 <= statuses.count(200) <= 20 + (time.monotonic() - began) * 20 / 60 + 0.1 * 20 + 1
    redis_server.kill()
    assert (await made[0].generate(made[0].key)).status_code == 200, "nobody fails for Redis's sake"


@pytest.mark.parametrize("slots", [1, 3])
async def test_clients_one_after_the_other_are_never_refused_whichever_router_they_ask(
    redis_server: RedisServer, make_router: RouterFactory, slots: int
) -> None:
    """As many clients as slots. Each asks one router; the report of the answer goes to the other, or to the same."""
    made = [make_router(extra=f"\n  redis_url: {redis_server.url}") for _ in range(2)]
    for router in made:
        router.start()
    await made[0].create_first_key()
    made[1].key = made[0].key
    for router in made:
        await router.ready()
        await router.knows_its_engine()
    request = admin_pb2.CreateKeyRequest(name="k", limits=admin_pb2.Limits(concurrency=slots))
    key = await call(made[0], made[0].key, "AdminService/CreateKey", request)
    statuses: list[int] = []

    async def client(number: int) -> None:
        engines = [EngineReports(router, engine_id=f"engine-{number}-{at}") for at, router in enumerate(made)]
        reporting: list[asyncio.Task[object]] = []
        for turn in range(12):
            answer = await made[(number + turn) % 2].generate(key.secret)
            statuses.append(answer.status_code)
            if answer.status_code == 200:
                # The client has its answer before the report has come.
                report = engines[turn // 2 % 2].report(answer.headers["x-enginehouse-grant"], output=1)
                await asyncio.gather(*reporting)
                reporting = [asyncio.create_task(report)]
        await asyncio.gather(*reporting)
        for engine in engines:
            await engine.close()

    await asyncio.gather(*(client(number) for number in range(slots)))
    assert statuses == [200] * 12 * slots
