"""A provider that misbehaves: what its callers are told, how soon, and how little it hears of us meanwhile."""

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.upstream import UpstreamBackend, UpstreamModel
from enginehouse.engines.inference.generation.events import OutputPiece
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests.upstream.scripted_provider import (
    PAUSE,
    Provider,
    answer,
    catalog_model,
    chunk,
    stream,
    usage,
)

CHAT = generation_pb2.GenerateRequest(
    model="far", messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content="hi")]
)
GOOD = stream(chunk("ok", finish="stop"), usage(1, 1))
DOWN = answer(503, {"error": {"message": "down for maintenance"}})


class Two:
    """Two models of one provider, in one engine."""

    def __init__(self, provider: Provider) -> None:
        self.now_s = 100.0
        self.entry = catalog_model(provider.url, retries=0)
        self.backend = UpstreamBackend(
            environ={"FAR_KEY": "sk-secret"}, first_wait_s=0.001, jitter=lambda: 0.0, clock=lambda: self.now_s
        )

    async def load(self) -> None:
        self.far: UpstreamModel = await self.backend.load(self.entry)
        self.near: UpstreamModel = await self.backend.load(dataclasses.replace(self.entry, name="near"))

    def refusing(self) -> set[str]:
        names = self.backend.refusing()
        return {name for name in ("far", "near") if name in names}


@pytest.fixture
async def two(provider: Provider) -> AsyncIterator[Two]:
    models = Two(provider)
    await models.load()
    yield models
    await models.far.close()
    await models.near.close()


async def text(model: UpstreamModel, *, patience_s: float = 10.0) -> str:
    prepared = dataclasses.replace(await model.prepare(CHAT), patience_s=patience_s)
    batches = [batch async for batch in model.generate(prepared, max_output_tokens=9)]
    return "".join(event.text for batch in batches for event in batch if isinstance(event, OutputPiece))


async def refused(model: UpstreamModel, *, patience_s: float = 10.0) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await text(model, patience_s=patience_s)
    assert "sk-secret" not in raised.value.message
    return raised.value


async def test_a_provider_that_is_down_is_left_alone_and_found_again(provider: Provider, two: Two) -> None:
    provider.answers = [DOWN] * 5
    for _ in range(5):
        assert "HTTP 503" in (await refused(two.far)).message
    assert two.refusing() == {"far", "near"}
    # All its models are told at once, and when to come back; the provider hears nothing.
    for model in (two.near, two.far):
        error = await refused(model)
        assert error.reason is Reason.UPSTREAM_FAILED
        assert "down for maintenance" in error.message
        assert error.retry_after_s == 1.0
    assert len(provider.asked) == 5
    two.now_s += 1.0
    assert two.refusing() == set()
    # One request finds out for all: while it is under way the others still wait.
    provider.answers = [[PAUSE, *GOOD], GOOD]
    probe = asyncio.create_task(text(two.far))
    await until(lambda: len(provider.asked) == 6)
    assert "is away" in (await refused(two.near)).message
    provider.go_on.set()
    assert await probe == "ok"
    assert await text(two.near) == "ok"
    assert len(provider.asked) == 7


async def test_a_probe_that_fails_makes_the_wait_longer(provider: Provider, two: Two) -> None:
    provider.answers = [DOWN] * 6
    for _ in range(5):
        await refused(two.far)
    two.now_s += 1.0
    await refused(two.far)
    assert (await refused(two.far)).retry_after_s == 2.0
    assert len(provider.asked) == 6


async def test_a_port_where_nobody_listens_counts_like_any_failure(two: Two) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = catalog_model(f"http://127.0.0.1:{free.getsockname()[1]}/v1", retries=0)
    model = await two.backend.load(dataclasses.replace(gone, name="near"))
    for _ in range(5):
        assert "connection" in (await refused(model)).message
    assert two.refusing() == {"near"}
    assert "is away" in (await refused(model)).message
    await model.close()


async def test_what_a_request_is_refused_for_is_no_failure(provider: Provider, two: Two) -> None:
    provider.answers = [answer(400, {"error": {"message": "bad"}})] * 6
    for _ in range(6):
        assert (await refused(two.far)).reason is Reason.INVALID_REQUEST
    assert two.refusing() == set()


async def test_who_has_another_model_to_ask_waits_for_nothing(provider: Provider) -> None:
    backend = UpstreamBackend(environ={"FAR_KEY": "sk-secret"})
    model = await backend.load(catalog_model(provider.url))
    provider.answers = [DOWN, answer(429, {}, retry_after="5")]
    assert (await refused(model, patience_s=0)).reason is Reason.UPSTREAM_FAILED
    assert (await refused(model, patience_s=0)).reason is Reason.UPSTREAM_RATE_LIMITED
    assert len(provider.asked) == 2
    # What one was told holds for all that come meanwhile.
    error = await refused(model, patience_s=0)
    assert error.reason is Reason.UPSTREAM_RATE_LIMITED
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 5
    assert "far" in backend.refusing()
    assert len(provider.asked) == 2
    await model.close()


async def test_a_pause_is_kept_where_there_is_time_and_not_begun_where_there_is_none(provider: Provider) -> None:
    backend = UpstreamBackend(environ={"FAR_KEY": "sk-secret"}, first_wait_s=0.001)
    model = await backend.load(catalog_model(provider.url))
    provider.answers = [answer(429, {}, retry_after="1"), GOOD, GOOD]
    began = asyncio.get_running_loop().time()
    first = asyncio.create_task(text(model))
    await until(lambda: "far" in backend.refusing())
    # The caller's deadline would pass before the pause does.
    assert (await refused(model, patience_s=0.01)).reason is Reason.UPSTREAM_RATE_LIMITED
    assert await asyncio.gather(first, text(model)) == ["ok", "ok"]
    assert asyncio.get_running_loop().time() - began >= 1
    assert len(provider.asked) == 3
    await model.close()


@pytest.mark.parametrize("told", ["soon", "Wed, 99 Nob 2026", "-5", "nan", "1e999", ""])
async def test_a_pause_that_makes_no_sense_is_none(provider: Provider, two: Two, told: str) -> None:
    provider.answers = [answer(429, {}, retry_after=told), GOOD]
    assert (await refused(two.far)).reason is Reason.UPSTREAM_RATE_LIMITED
    assert await text(two.far) == "ok"


@pytest.mark.parametrize(
    "body",
    [
        answer(200, b"<html>please log in</html>"),
        stream(b"data: {\n\n"),
        stream(b"data: [1, 2]\n\n"),
        stream(b"data: null\n\n"),
        stream(b'data: {"choices": [{"delta": {"content": 7}}]}\n\n'),
        stream(b"\xff\xfe\x00" * 100),
        [b"not HTTP at all\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\nnot gzip"],
    ],
)
async def test_garbage_is_a_failure_of_the_providers(provider: Provider, two: Two, body: list[bytes | str]) -> None:
    provider.answers = [body] * 5
    for _ in range(5):
        assert (await refused(two.far)).reason is Reason.UPSTREAM_FAILED
    assert two.refusing() == {"far", "near"}


async def test_a_stream_that_stalls_ends_with_a_reason(provider: Provider) -> None:
    backend = UpstreamBackend(environ={"FAR_KEY": "sk-secret"})
    model = await backend.load(catalog_model(provider.url, silence_timeout_s=0.2))
    provider.answers = [stream(chunk("half"), PAUSE)]
    batches = model.generate(await model.prepare(CHAT), max_output_tokens=9)
    [piece] = await anext(batches)
    assert isinstance(piece, OutputPiece)
    assert piece.text == "half"
    with pytest.raises(ServiceError) as raised:
        await anext(batches)
    assert raised.value.reason is Reason.UPSTREAM_FAILED
    assert "went silent" in raised.value.message
    assert len(provider.asked) == 1
    await model.close()


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)
