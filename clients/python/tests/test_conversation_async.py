"""What only the asyncio client does with a conversation: both directions at once."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client import AsyncEnginehouse, BudgetExhausted, Cancelled, InvalidRequest, RetryPolicy


def speaks(requests: Any, context: grpc.ServicerContext) -> Any:
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
async def mesh(server: Any) -> Any:
    async with AsyncEnginehouse(server.url, "eh_test_key", retries=RetryPolicy(max_attempts=1)) as client:
        yield client


async def test_text_and_audio_cross(server: Any, mesh: Any) -> None:
    server.behaviours = [speaks]
    async with mesh.converse() as talk:
        assert talk.info.sample_rate == 22_050
        pieces = aiter(talk)
        await talk.send("one")
        assert (await anext(pieces)).audio == b"one"
        await talk.flush()
        flushed = await anext(pieces)
        assert (flushed.audio, [done.chunk for done in flushed.done]) == (b"!", [0])
        await talk.interrupt()
        assert (await anext(pieces)).interrupted
        await talk.end()
        assert [piece async for piece in pieces] == []
        assert talk.summary is not None
        with pytest.raises(ValueError, match=r"ended with end\(\)"):
            await talk.send("more")


async def test_tasks_may_write_at_once(server: Any, mesh: Any) -> None:
    server.behaviours = [speaks]
    async with mesh.converse() as talk:
        async with asyncio.TaskGroup() as writers:
            for _ in range(50):
                writers.create_task(talk.send("x"))
        await talk.end()
        assert b"".join([piece.audio async for piece in talk]) == b"x" * 50


async def test_a_conversation_is_begun_by_its_block(server: Any, mesh: Any) -> None:
    talk = mesh.converse()
    with pytest.raises(ValueError, match="async with"):
        await talk.send("x")
    await talk.close()
    assert server.metadata == []


async def test_what_is_wrong_with_it_is_told_at_its_beginning(server: Any, mesh: Any, behaviours: Any) -> None:
    server.behaviours = [behaviours.refusing(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", message="no voice")]
    with pytest.raises(InvalidRequest, match="no voice"):
        async with mesh.converse(voice="nobody"):
            raise AssertionError("it was begun")


async def test_who_writes_learns_that_it_was_refused(server: Any, mesh: Any, behaviours: Any) -> None:
    def refuses(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c")
        next(requests)
        behaviours.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", message="no control characters")

    server.behaviours = [refuses]
    async with mesh.converse() as talk:
        with pytest.raises(InvalidRequest, match="no control characters"):
            while True:
                await talk.send("\x01")
        with pytest.raises(InvalidRequest, match="no control characters"):
            await talk.send("x")


async def test_who_writes_learns_that_the_money_is_gone(server: Any, mesh: Any) -> None:
    def stops(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c")
        next(requests)
        yield voice_pb2.ConverseResponse(summary=voice_pb2.SpeechSummary(stopped_by_budget=True))

    server.behaviours = [stops]
    async with mesh.converse() as talk:
        await talk.send("x")
        assert [piece async for piece in talk] == []
        assert talk.summary.stopped_by_budget
        with pytest.raises(BudgetExhausted, match="used up"):
            await talk.send("y")


async def test_closing_ends_the_iteration_of_another_task(server: Any, mesh: Any) -> None:
    def waits(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c", audio=b"x")
        assert server.gone.wait(10)

    server.behaviours = [waits]
    first = asyncio.Event()

    async def hear(talk: Any) -> None:
        async for _ in talk:
            first.set()

    async with mesh.converse() as talk:
        hearing = asyncio.create_task(hear(talk))
        await first.wait()
        # It waits for the next piece by now, or will.
        await talk.close()
        with pytest.raises(Cancelled, match="by this client"):
            await hearing
    assert await asyncio.to_thread(server.gone.wait, 5)
