"""Synthesis of text while it is written, and interruptions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.api.voice.v1.voice_pb2 import ConverseConfig, ConverseRequest, SpeechControls
from enginehouse.kit.errors import Reason, from_rpc_error
from engines.voice.tests.voice_engine import CHARACTERS, VoiceClient, amounts, running_engine, speech_model

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Talk:
    """One conversation, from the caller's side."""

    def __init__(self, engine: VoiceClient, **grant: Any) -> None:
        self.call = engine.stub.Converse(metadata=engine.metadata("Converse", **grant), timeout=60)

    async def begin(self, **config: Any) -> voice_pb2.ConverseResponse:
        await self.call.write(ConverseRequest(config=ConverseConfig(**config)))
        return await self.read()

    async def write(self, **message: Any) -> None:
        await self.call.write(ConverseRequest(**message))

    async def read(self) -> Any:
        return await asyncio.wait_for(self.call.read(), 20)

    async def until(self, wanted: str) -> list[Any]:
        """Return all messages up to and including the first one with a field set."""
        found = []
        while True:
            response = await self.read()
            assert response is not grpc.aio.EOF, f"the end came before {wanted}"
            found.append(response)
            if getattr(response, wanted) if wanted != "summary" else response.HasField("summary"):
                return found


async def failed(talk: Talk) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await talk.read() is not grpc.aio.EOF:
            pass
    return from_rpc_error(caught.value)


async def test_a_sentence_is_spoken_as_soon_as_it_is_whole(engine: VoiceClient) -> None:
    talk = Talk(engine)
    first = await talk.begin()
    assert (first.model, first.info.encoding) == ("espeak-ng", voice_pb2.AUDIO_ENCODING_PCM)
    for token in ("The cr", "ow ", "flew", " away. ", "And th"):
        await talk.write(text=token)
    heard = await talk.until("done")
    assert heard[0].audio
    assert heard[-1].done[0].chunk == 0
    # The second sentence is incomplete, and is spoken at the end of the caller's text.
    await talk.write(text="en")
    await talk.call.done_writing()
    rest = await talk.until("summary")
    usage = {unit.unit: unit.amount for unit in rest[-1].summary.usage.units}
    assert usage[CHARACTERS] == len("The crow flew away. And then")
    assert await talk.read() is grpc.aio.EOF


async def test_flush_speaks_what_is_there(engine: VoiceClient) -> None:
    talk = Talk(engine)
    await talk.begin()
    await talk.write(text="Without an end")
    await talk.write(flush=True)
    heard = await talk.until("done")
    assert sum(len(response.audio) for response in heard) > 10_000
    await talk.call.done_writing()
    await talk.until("summary")


async def test_an_interruption_drops_what_was_not_sent(engine: VoiceClient) -> None:
    talk = Talk(engine)
    await talk.begin()
    written = " ".join(f"This is sentence number {number}, and it goes on for a while." for number in range(40))
    await talk.write(text=written)
    while not (await talk.read()).audio:
        pass
    await talk.write(interrupt=True)
    dropped = await talk.until("interrupted")
    await talk.write(text="Yes? ")
    await talk.write(flush=True)
    await talk.until("done")
    await talk.call.done_writing()
    end = (await talk.until("summary"))[-1].summary
    usage = {unit.unit: unit.amount for unit in end.usage.units}
    # Some sentences were synthesized ahead; the dropped ones were neither sent nor billed.
    assert usage[CHARACTERS] < len(written) / 2
    assert end.audio_ms < 60_000
    assert not dropped[-1].audio


async def test_audio_is_sent_no_faster_than_it_is_played(tmp_path: Path) -> None:
    async with running_engine([speech_model()], directory=tmp_path, ahead_s=1.0) as engine:
        talk = Talk(engine)
        await talk.begin()
        await talk.write(text="This sentence alone takes about two seconds to be spoken. " * 10)
        received = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                while True:
                    received += len((await talk.call.read()).audio)
        assert 0.5 < received / 2 / 22_050 < 6
        talk.call.cancel()


@pytest.mark.parametrize(
    ("messages", "field", "hint"),
    [
        ([ConverseRequest(text="Hello.")], "config", "first message"),
        ([], "config", "first message"),
        ([ConverseRequest(config=ConverseConfig()), ConverseRequest()], "message", "text, flush or interrupt"),
        ([ConverseRequest(config=ConverseConfig()), ConverseRequest(text="a\x00b")], "text", "U+0000"),
        (
            [ConverseRequest(config=ConverseConfig(audio=voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_MP3)))],
            "audio.encoding",
            "PCM or OPUS",
        ),
        (
            [ConverseRequest(config=ConverseConfig(controls=SpeechControls(voice="nobody")))],
            "controls.voice",
            "nobody",
        ),
        (
            [ConverseRequest(config=ConverseConfig(controls=SpeechControls(speed=77)))],
            "controls.speed",
            "0.25 to 4",
        ),
    ],
)
async def test_invalid_requests_are_named(
    engine: VoiceClient, messages: list[ConverseRequest], field: str, hint: str
) -> None:
    talk = Talk(engine)
    for message in messages:
        await talk.call.write(message)
    if not messages:
        await talk.call.done_writing()
    error = await failed(talk)
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == field
    assert hint in error.message


async def test_an_idle_caller_is_disconnected(tmp_path: Path) -> None:
    async with running_engine([speech_model()], directory=tmp_path, idle_s=1) as engine:
        talk = Talk(engine)
        await talk.begin()
        error = await failed(talk)
        assert error.reason is Reason.DEADLINE_EXCEEDED
        await engine.records(1)
        assert engine.busy() == 0


async def test_the_cap_ends_a_conversation(engine: VoiceClient) -> None:
    talk = Talk(engine, cap_nanos=60)
    await talk.begin()
    await talk.write(text="First sentence here. Second sentence here. Third sentence here. Fourth sentence here. ")
    end = (await talk.until("summary"))[-1].summary
    assert end.stopped_by_budget
    assert end.usage.cost_nanos <= 60
    [record] = await engine.records(1)
    assert record.outcome == usage_pb2.OUTCOME_CAPPED
    assert amounts(record)[CHARACTERS] < 60


async def test_a_cancelled_conversation_leaves_nothing_running(engine: VoiceClient) -> None:
    async def endless() -> AsyncIterator[ConverseRequest]:
        yield ConverseRequest(config=ConverseConfig())
        while True:
            yield ConverseRequest(text="And so it goes on and on. ")
            await asyncio.sleep(0.01)

    call = engine.stub.Converse(endless(), metadata=engine.metadata("Converse"))
    async for response in call:
        if response.audio:
            break
    call.cancel()
    [record] = await engine.records(1)
    assert record.outcome == usage_pb2.OUTCOME_CANCELLED
    assert engine.busy() == 0
