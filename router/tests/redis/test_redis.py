"""The connection to Redis, and what its users see when Redis goes, hangs and comes back."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ResponseError

from enginehouse.kit.config import ConfigError, load
from enginehouse.router.redis import RedisUnavailable, SharedRedis
from enginehouse.router.settings import RouterSettings
from router.tests.harness.redis_server import RedisServer
from router.tests.harness.waiting import wait_for, wait_until


@pytest.fixture
async def shared(redis_server: RedisServer) -> AsyncIterator[SharedRedis]:
    shared = SharedRedis(url=redis_server.url, timeout_s=2)
    shared.start()
    await wait_for(lambda: shared.up)
    yield shared
    await shared.close()


async def test_a_value_is_read_back(shared: SharedRedis) -> None:
    await shared.ask(lambda client: client.set("eh:test", b"\x00value", px=60_000))
    assert await shared.ask(lambda client: client.get("eh:test")) == b"\x00value"


async def test_before_it_is_found_it_is_away(tmp_path: Path) -> None:
    shared = SharedRedis(url=f"unix://{tmp_path}/nobody.sock")
    shared.start()
    with pytest.raises(RedisUnavailable):
        await shared.ask(lambda client: client.ping())
    await shared.close()


async def test_a_killed_redis_is_away_at_once_and_found_again(shared: SharedRedis, redis_server: RedisServer) -> None:
    redis_server.kill()
    with pytest.raises(RedisUnavailable):
        await shared.ask(lambda client: client.ping())
    asked: list[int] = []

    async def count(client: Any) -> None:
        asked.append(1)

    with pytest.raises(RedisUnavailable):
        await shared.ask(count)
    assert not asked, "while it is known to be away nobody waits for it"
    redis_server.start()
    await wait_for(lambda: shared.up)
    assert await shared.ask(lambda client: client.ping())


async def test_a_hanging_redis_counts_as_away(redis_server: RedisServer) -> None:
    shared = SharedRedis(url=redis_server.url, timeout_s=0.2)
    shared.start()
    await wait_for(lambda: shared.up)
    redis_server.pause()
    began = time.monotonic()
    with pytest.raises(RedisUnavailable):
        await shared.ask(lambda client: client.get("eh:test"))
    assert time.monotonic() - began < 60
    redis_server.resume()
    await wait_for(lambda: shared.up)
    await shared.close()


async def test_a_wrong_command_is_a_defect_and_not_an_absence(shared: SharedRedis) -> None:
    await shared.ask(lambda client: client.set("eh:test", b"text"))
    with pytest.raises(ResponseError):
        await shared.ask(lambda client: client.incr("eh:test"))
    assert shared.up


async def test_a_connection_that_died_idle_costs_no_use(shared: SharedRedis, redis_server: RedisServer) -> None:
    await shared.ask(lambda client: client.ping())
    redis_server.kill()
    redis_server.start()

    async def answers() -> bool:
        try:
            return bool(await shared.ask(lambda client: client.ping()))
        except RedisUnavailable:
            return False

    await wait_until(answers, True, within_s=60)


async def test_its_password_is_never_told(caplog: pytest.LogCaptureFixture) -> None:
    shared = SharedRedis(url="redis://someone:hunter2hunter2@127.0.0.1:1/0")
    with caplog.at_level(logging.DEBUG):
        shared.start()
        await wait_for(lambda: caplog.records)
        with pytest.raises(RedisUnavailable) as away:
            await shared.ask(lambda client: client.ping())
        await shared.close()
    assert "hunter2" not in caplog.text + str(away.value) + repr(shared)
    assert all("hunter2" not in str(record.__dict__) for record in caplog.records)


@pytest.mark.parametrize(
    "url",
    ["http://hunter2@host", "redis://", "host:6379", "redis://hunter2@host:port/0", "unix://", "redis://[::1/0"],
)
def test_an_address_that_is_none_is_refused_without_being_repeated(
    url: str, complete: Callable[..., dict[str, str]]
) -> None:
    with pytest.raises(ConfigError, match="redis_url cannot be read") as refused:
        load(RouterSettings, section="router", path=None, environ=complete(REDIS_URL=url))
    assert "hunter2" not in str(refused.value)


def test_an_address_comes_from_the_environment(complete: Callable[..., dict[str, str]]) -> None:
    settings = load(
        RouterSettings, section="router", path=None, environ=complete(REDIS_URL="rediss://u:hunter2@host:6380/1")
    )
    assert settings.redis_url == "rediss://u:hunter2@host:6380/1"
    assert "hunter2" not in repr(settings)


@pytest.fixture
def complete() -> Callable[..., dict[str, str]]:
    """The environment of a router that lacks nothing, and what is given."""

    def environment(**more: str) -> dict[str, str]:
        values = {
            "DATABASE_URL": "postgresql://localhost/x",
            "GRANT_KEYS_FILE": "keys",
            "KEY_PEPPER_FILE": "pepper",
            "CATALOG_FILE": "catalog.yaml",
        }
        return {f"ENGINEHOUSE_ROUTER__{name}": value for name, value in (values | more).items()}

    return environment
