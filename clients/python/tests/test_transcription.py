"""Transcription of recordings and of live speech, over a real connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.python.tests.harness.behaviours import abort, refuse, respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client import AsyncEnginehouse, NotFound, Unavailable


def transcript() -> voice_pb2.RecognizeResponse:
    word = voice_pb2.Word(word="crow", start_ms=10, end_ms=90, confidence=0.5)
    response = voice_pb2.RecognizeResponse(
        request_id="r",
        model="sphinx",
        text="a crow",
        language="en-US",
        duration_ms=1200,
        segments=[voice_pb2.Segment(text="a crow", end_ms=1100, words=[word])],
    )
    response.usage.cost_nanos = 3
    response.usage.units.add(unit=usage_pb2.UNIT_AUDIO_MILLISECONDS, amount=1200)
    return response


async def test_a_recording_is_transcribed(server: ScriptedServer, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "crow.wav"
    file.write_bytes(b"RIFF...")
    server.script = [respond(transcript())] * 3
    mesh = connect(server.url)
    result = await mesh.call(
        "transcribe",
        file,
        model="sphinx",
        language="en",
        word_times=True,
        translate=True,
        prompt="crow",
        max_audio_seconds=9,
        request_id="mine",
    )
    assert (result.text, result.language, result.duration_ms, result.model) == ("a crow", "en-US", 1200, "sphinx")
    assert [(segment.end_ms, segment.words[0].word) for segment in result.segments] == [(1100, "crow")]
    assert (result.usage, result.cost_nanos, result.stopped_by_budget) == ({"audio_milliseconds": 1200}, 3, False)
    sent = server.requests[0]
    assert (sent.audio, sent.model, sent.request_id) == (b"RIFF...", "sphinx", "mine")
    options = sent.options
    assert (options.language, options.word_times, options.translate, options.prompt) == ("en", True, True, "crow")
    assert server.metadata[0]["x-enginehouse-max-audio-seconds"] == "9"
    await mesh.call("transcribe", str(file))
    await mesh.call("transcribe", bytearray(b"RIFF..."))
    assert server.requests[1].audio == server.requests[2].audio == b"RIFF..."
    assert "x-enginehouse-max-audio-seconds" not in server.metadata[1]


async def test_recordings_are_bounded_by_size(server: ScriptedServer, connect: Connect, tmp_path: Path) -> None:
    server.script = [respond(transcript())]
    mesh = connect(server.url)
    largest = bytes(25 * 2**20)
    await mesh.call("transcribe", largest)
    assert len(server.requests[0].audio) == len(largest)
    file = tmp_path / "long.wav"
    file.write_bytes(largest + b"x")
    with pytest.raises(ValueError, match=r"long\.wav has more than 25 MiB"):
        await mesh.call("transcribe", file)
    with pytest.raises(FileNotFoundError):
        await mesh.call("transcribe", tmp_path / "none.wav")
    assert len(server.requests) == 1


def recognize(requests: Any, context: grpc.ServicerContext) -> Any:
    """Answer each piece of audio with an interim result that gives the size of all so far."""
    config = next(requests).config
    yield voice_pb2.StreamingRecognizeResponse(request_id=config.request_id, model="sphinx")
    yield voice_pb2.StreamingRecognizeResponse(event=voice_pb2.SPEECH_EVENT_STARTED, event_ms=40)
    size = 0
    for request in requests:
        size += len(request.audio)
        interim = voice_pb2.StreamingResult(segment=voice_pb2.Segment(text=str(size), end_ms=size))
        yield voice_pb2.StreamingRecognizeResponse(result=interim)
    final = voice_pb2.StreamingResult(
        segment=voice_pb2.Segment(text="a crow", end_ms=900), is_final=True, language="en"
    )
    yield voice_pb2.StreamingRecognizeResponse(result=final, event=voice_pb2.SPEECH_EVENT_ENDED, event_ms=950)
    summary = voice_pb2.RecognitionSummary(audio_ms=1000, total_ms=20)
    summary.usage.cost_nanos = 5
    yield voice_pb2.StreamingRecognizeResponse(summary=summary)


async def test_live_speech_is_transcribed(server: ScriptedServer, connect: Connect) -> None:
    server.script = [refuse(grpc.StatusCode.UNAVAILABLE, "NO_ENDPOINT"), recognize]
    events, stream = await connect(server.url).listen(
        [b"ab", b"cde"],
        sample_rate=16_000,
        model="sphinx",
        language="en",
        word_times=True,
        prompt="crow",
        interim=True,
        end_silence_ms=300,
        single_utterance=True,
        max_audio_seconds=30,
        request_id="l-1",
    )
    assert [(event.kind, event.at_ms, event.text, event.language) for event in events] == [
        ("started", 40, "", ""),
        ("interim", 2, "2", ""),
        ("interim", 5, "5", ""),
        ("final", 900, "a crow", "en"),
        ("ended", 950, "", ""),
    ]
    assert (stream.attempts, stream.request_id, stream.model) == (2, "l-1", "sphinx")
    assert (stream.summary.audio_ms, stream.summary.cost_nanos, stream.summary.total_ms) == (1000, 5, 20)
    config = server.requests[-3].config
    assert (config.sample_rate, config.interim_results, config.end_silence_ms) == (16_000, True, 300)
    assert (config.single_utterance, config.options.language, config.options.prompt) == (True, "en", "crow")
    assert config.options.word_times
    metadata = server.metadata[1]
    assert metadata["x-enginehouse-ask-model"] == "sphinx"
    assert metadata["x-enginehouse-language"] == "en"
    assert metadata["x-enginehouse-max-audio-seconds"] == "30"


async def test_large_pieces_of_audio_are_split(server: ScriptedServer, connect: Connect) -> None:
    server.script = [recognize]
    audio = bytes(range(256)) * 12_000
    await connect(server.url).listen([audio], sample_rate=16_000)
    parts = [request.audio for request in server.requests if request.WhichOneof("message") == "audio"]
    assert b"".join(parts) == audio
    assert max(map(len, parts)) <= 2**20


async def test_audio_may_be_an_asynchronous_iterable(server: ScriptedServer) -> None:
    async def audio() -> Any:
        yield b"ab"
        yield b"c"

    server.script = [recognize]
    async with AsyncEnginehouse(server.url, "eh_test_key") as mesh, mesh.listen(audio(), sample_rate=8000) as stream:
        assert [event.text async for event in stream if event.kind == "interim"] == ["2", "3"]


async def test_an_error_of_the_audio_ends_the_call(server: ScriptedServer, connect: Connect) -> None:
    def broken() -> Any:
        yield b"ab"
        raise OSError("the microphone is gone")

    server.script = [recognize]
    with pytest.raises(OSError, match="the microphone is gone"):
        await connect(server.url).listen(broken(), sample_rate=16_000)
    await server.wait_until_ended()


async def test_audio_after_the_end_is_ignored(server: ScriptedServer, connect: Connect) -> None:
    def recognize_first(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.StreamingRecognizeResponse(request_id="l", model="sphinx")
        next(requests)
        final = voice_pb2.StreamingResult(segment=voice_pb2.Segment(text="one"), is_final=True)
        yield voice_pb2.StreamingRecognizeResponse(result=final, summary=voice_pb2.RecognitionSummary(audio_ms=1))

    def endless() -> Any:
        while not server.ended.is_set():
            yield bytes(320)

    server.script = [recognize_first]
    events, stream = await connect(server.url).listen(endless(), sample_rate=16_000, single_utterance=True)
    assert [event.text for event in events] == ["one"]
    assert stream.summary is not None


async def test_a_started_transcription_is_not_retried(server: ScriptedServer, connect: Connect) -> None:
    def cut(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.StreamingRecognizeResponse(request_id="l", model="sphinx")
        abort(context, grpc.StatusCode.UNAVAILABLE, "ENGINE_DRAINING")

    server.script = [cut]
    with pytest.raises(Unavailable):
        await connect(server.url).listen([b"ab"], sample_rate=16_000)
    assert len(server.metadata) == 1


async def test_an_unknown_model_is_refused(server: ScriptedServer, connect: Connect) -> None:
    mesh = connect(server.url)
    with pytest.raises(ValueError, match="invalid model 'no one'"):
        await mesh.listen([b"ab"], sample_rate=16_000, model="no one")
    server.script = [refuse(grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL")]
    with pytest.raises(NotFound):
        await mesh.listen([b"ab"], sample_rate=16_000, model="nobody")
