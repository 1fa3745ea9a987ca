"""Conversations of the asyncio client, which stream in both directions at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from clients.python.tests.harness.behaviours import abort, refuse
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client import (
    AsyncConversationStream,
    AsyncEnginehouse,
    BudgetExhausted,
    Cancelled,
    InvalidRequest,
    RetryPolicy,
)


def converse(requests: Any, context: grpc.ServicerContext) -> Any:
    next(requests)
    yield voice_pb2.ConverseResponse(request_id="c", model="espeak", info=voice_pb2.AudioInfo(sample_rate=22_050))
    for request in requests:
        kind = request.WhichOneof("message")
        if kind == "interrupt":
            yield voice_pb2.ConverseResponse(interrupted=True)
        elif kind == "flush":
            yield voice_pb2.ConverseResponse(audio=b"!", done=[voice_pb2.ChunkDone(chunk=0)])
        else:
            yield voice_pb2.ConverseResponse(audio=request.text.encode())
    yield voice_pb2.ConverseResponse(summary=voice_pb2.SpeechSummary())


@pytest.fixture
async def mesh(server: ScriptedServer) -> AsyncIterator[AsyncEnginehouse]:
    async with AsyncEnginehouse(server.url, "eh_test_key", retries=RetryPolicy(max_attempts=1)) as client:
        yield client


async def test_text_and_audio_are_streamed_at_once(server: ScriptedServer, mesh: AsyncEnginehouse) -> None:
    server.script = [converse]
    async with mesh.converse() as stream:
        assert stream.info.sample_rate == 22_050
        events = aiter(stream)
        await stream.send("one")
        assert (await anext(events)).audio == b"one"
        await stream.flush()
        flushed = await anext(events)
        assert (flushed.audio, [done.chunk for done in flushed.done]) == (b"!", [0])
        await stream.interrupt()
        assert (await anext(events)).interrupted
        await stream.end()
        assert [event async for event in events] == []
        assert stream.summary is not None
        with pytest.raises(ValueError, match=r"ended with end\(\)"):
            await stream.send("more")


async def test_several_tasks_may_send(server: ScriptedServer, mesh: AsyncEnginehouse) -> None:
    server.script = [converse]
    async with mesh.converse() as stream:
        async with asyncio.TaskGroup() as writers:
            for _ in range(50):
                writers.create_task(stream.send("x"))
        await stream.end()
        assert b"".join([event.audio async for event in stream]) == b"x" * 50


async def test_a_conversation_is_started_by_its_block(server: ScriptedServer, mesh: AsyncEnginehouse) -> None:
    stream = mesh.converse()
    with pytest.raises(ValueError, match="async with"):
        await stream.send("x")
    await stream.close()
    assert server.metadata == []


async def test_a_refusal_is_raised_at_the_start(server: ScriptedServer, mesh: AsyncEnginehouse) -> None:
    server.script = [refuse(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", message="no voice")]
    with pytest.raises(InvalidRequest, match="no voice"):
        async with mesh.converse(voice="nobody"):
            raise AssertionError("the conversation was started")


async def test_sending_raises_the_refusal(server: ScriptedServer, mesh: AsyncEnginehouse) -> None:
    def refuse_text(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c")
        next(requests)
        abort(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", message="no control characters")

    server.script = [refuse_text]
    async with mesh.converse() as stream:
        with pytest.raises(InvalidRequest, match="no control characters"):
            while True:
                await stream.send("\x01")
        with pytest.raises(InvalidRequest, match="no control characters"):
            await stream.send("x")


async def test_sending_raises_that_the_budget_is_exhausted(server: ScriptedServer, mesh: AsyncEnginehouse) -> None:
    def stop(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c")
        next(requests)
        yield voice_pb2.ConverseResponse(summary=voice_pb2.SpeechSummary(stopped_by_budget=True))

    server.script = [stop]
    async with mesh.converse() as stream:
        await stream.send("x")
        assert [event async for event in stream] == []
        assert stream.summary.stopped_by_budget
        with pytest.raises(BudgetExhausted, match="used up"):
            await stream.send("y")


async def test_closing_ends_the_iteration_of_another_task(server: ScriptedServer, mesh: AsyncEnginehouse) -> None:
    def wait(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c", audio=b"x")
        assert server.ended.wait(10)

    server.script = [wait]
    first = asyncio.Event()

    async def read(stream: AsyncConversationStream) -> None:
        async for _ in stream:
            first.set()

    async with mesh.converse() as stream:
        reading = asyncio.create_task(read(stream))
        await first.wait()
        # The reading task waits for the next event, or will.
        await stream.close()
        with pytest.raises(Cancelled, match="by this client"):
            await reading
    await server.wait_until_ended()
