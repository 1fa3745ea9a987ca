"""Speech and conversations, over a real connection."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, get_type_hints

import grpc
import pytest

from clients.python.tests.harness.behaviours import abort, refuse, respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.responses import speech
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client import Enginehouse, IncompleteSpeechError, InvalidRequest, RateLimited, Unavailable
from enginehouse.client.requests.voice import SpeechOptions, conversation, synthesize

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def test_audio_comes_in_pieces_with_its_format_and_a_summary(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(*speech())]
    pieces, stream = await connect(server.url).speak("A clever crow. It sat.")
    assert pieces == [b"one ", b"two ", b"three"]
    assert (stream.request_id, stream.model) == ("req_server", "espeak")
    assert (stream.info.content_type, stream.info.sample_rate, stream.info.chunks) == ("audio/mpeg", 22_050, 2)
    assert [(done.chunk, done.characters) for done in stream.done] == [(0, 12), (1, 8)]
    assert stream.next_chunk == 2
    summary = stream.summary
    assert summary.usage == {"characters": 20, "audio_milliseconds": 1500}
    assert (summary.cost_nanos, summary.audio_ms, summary.time_to_first_audio_ms, summary.total_ms) == (45, 1500, 3, 8)
    assert not summary.stopped_by_budget


async def test_the_words_of_a_speech_come_without_it(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(voice_pb2.PlanSpeechResponse(model="espeak", chunks=[{"characters": 2}]))] * 2
    mesh = connect(server.url)
    plan = await mesh.call("plan_speech", "hi", voice="te", speed=1.5, request_id="r1")
    assert (plan.model, plan.chunks[0].characters) == ("espeak", 2)
    request = server.requests[0]
    assert (request.text, request.request_id, request.model) == ("hi", "r1", "auto")
    assert (request.controls.voice, request.controls.speed) == ("te", 1.5)
    await mesh.call("plan_speech", ssml="<speak/>")
    assert server.requests[1].ssml == "<speak/>"
    with pytest.raises(ValueError, match="exactly one of text and ssml"):
        await mesh.call("plan_speech")


async def test_every_argument_reaches_its_field(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(*speech())] * 2
    mesh = connect(server.url, user_id="u-1")
    await mesh.speak(
        "hi",
        model="espeak",
        voice="te",
        language="te-IN",
        speed=1.5,
        pitch=-2,
        volume_db=3,
        emotion="tender",
        lexicon={"NASA": "nassa"},
        verbatim=True,
        encoding="opus",
        sample_rate=24_000,
        first_chunk=3,
        request_id="mine",
        timeout_s=9,
    )
    await mesh.speak(ssml="<speak>hi</speak>")
    first, second = server.requests
    controls = first.controls
    assert (first.text, first.model, first.request_id, first.first_chunk) == ("hi", "espeak", "mine", 3)
    assert (controls.voice, controls.language, controls.speed, controls.pitch) == ("te", "te-IN", 1.5, -2)
    assert (controls.volume_db, controls.emotion, controls.verbatim) == (3, voice_pb2.EMOTION_TENDER, True)
    assert [(entry.word, entry.say) for entry in controls.lexicon] == [("NASA", "nassa")]
    assert (first.audio.encoding, first.audio.sample_rate) == (voice_pb2.AUDIO_ENCODING_OPUS, 24_000)
    # Not the 120 s of the client.
    assert server.time_remaining[0] < 60
    metadata = server.metadata[0]
    assert metadata["authorization"] == "Bearer eh_test_key"
    assert (metadata["x-enginehouse-request-id"], metadata["x-enginehouse-user-id"]) == ("mine", "u-1")
    assert (second.WhichOneof("input"), second.ssml, second.model) == ("ssml", "<speak>hi</speak>", "auto")


def test_every_speech_option_is_used() -> None:
    values = {
        "model": "m",
        "voice": "v",
        "language": "te",
        "speed": 2.0,
        "pitch": 1.0,
        "volume_db": 1.0,
        "emotion": "sad",
        "lexicon": {"a": "b"},
        "verbatim": True,
        "encoding": "pcm",
        "sample_rate": 8000,
    }
    assert set(values) == set(get_type_hints(SpeechOptions))
    plain = synthesize("x", ssml=None, first_chunk=0, request_id="")
    for name, value in values.items():
        assert synthesize("x", ssml=None, first_chunk=0, request_id="", **{name: value}) != plain
        # The model of a conversation is sent as a header.
        assert name == "model" or conversation(request_id="", **{name: value}) != conversation(request_id="")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of text and ssml"),
        ({"text": "x", "ssml": "<speak/>"}, "exactly one of text and ssml"),
        ({"text": "x", "emotion": "bored"}, "unknown emotion 'bored': expected one of neutral, happy"),
        ({"text": "x", "encoding": "midi"}, "unknown encoding 'midi': expected one of wav, mp3"),
    ],
)
async def test_invalid_arguments_are_refused_before_sending(
    server: ScriptedServer, connect: Connect, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await connect(server.url).speak(**arguments)
    assert server.metadata == []


async def test_unavailable_speech_is_retried(server: ScriptedServer, connect: Connect) -> None:
    unavailable = refuse(UNAVAILABLE, "NO_ENDPOINT")
    server.script = [unavailable, unavailable, respond(*speech())]
    pieces, stream = await connect(server.url).speak("x")
    assert b"".join(pieces) == b"one two three"
    assert stream.attempts == 3
    assert len({request.request_id for request in server.requests}) == 1
    assert [metadata.get("x-enginehouse-attempt") for metadata in server.metadata] == [None, "2", "3"]
    server.script = [unavailable] * 3
    with pytest.raises(Unavailable):
        await connect(server.url).speak("x")


@pytest.mark.parametrize("first_chunk", [0, 4])
async def test_cut_speech_names_the_next_chunk(server: ScriptedServer, connect: Connect, first_chunk: int) -> None:
    def cut(request: Any, context: grpc.ServicerContext) -> Any:
        first, second, _ = speech()
        yield first
        if first_chunk == 0:
            yield second
        abort(context, UNAVAILABLE, "ENGINE_DRAINING")

    server.script = [cut]
    with pytest.raises(IncompleteSpeechError, match=f"first_chunk {first_chunk or 1}") as failed:
        await connect(server.url).speak("x", first_chunk=first_chunk)
    error = failed.value
    assert (error.code, error.reason, error.request_id) == (UNAVAILABLE, "ENGINE_DRAINING", "req_server")
    # Of the speech that started in the middle no chunk became complete: its first one is the next again.
    assert (error.next_chunk, error.model) == (first_chunk or 1, "espeak")
    assert isinstance(error.__cause__, Unavailable)
    assert len(server.requests) == 1


async def test_a_refusal_in_the_middle_is_raised_as_it_is(server: ScriptedServer, connect: Connect) -> None:
    def limit(request: Any, context: grpc.ServicerContext) -> Any:
        yield speech()[0]
        abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")

    server.script = [limit, refuse(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")]
    mesh = connect(server.url)
    with pytest.raises(RateLimited):
        await mesh.speak("x")
    with pytest.raises(InvalidRequest):
        await mesh.speak("")


async def test_an_error_after_the_summary_is_ignored(server: ScriptedServer, connect: Connect) -> None:
    def cut_late(request: Any, context: grpc.ServicerContext) -> Any:
        yield from speech()
        abort(context, UNAVAILABLE, "ENGINE_DRAINING")

    server.script = [cut_late]
    pieces, stream = await connect(server.url).speak("x")
    assert b"".join(pieces) == b"one two three"
    assert stream.summary is not None


async def test_leaving_the_stream_cancels_the_call(server: ScriptedServer, connect: Connect) -> None:
    def endless(request: Any, context: grpc.ServicerContext) -> Any:
        yield speech()[0]
        assert server.ended.wait(10)

    server.script = [endless]
    assert await connect(server.url).first_audio("x") == b"one "
    await server.wait_until_ended()


async def test_audio_is_saved_completely_or_not_at_all(
    server: ScriptedServer, connect: Connect, tmp_path: Path
) -> None:
    def cut(request: Any, context: grpc.ServicerContext) -> Any:
        yield speech()[0]
        abort(context, UNAVAILABLE, "ENGINE_DRAINING")

    path = tmp_path / "crow.mp3"
    mesh = connect(server.url)
    server.script = [cut, respond(*speech())]
    with pytest.raises(IncompleteSpeechError):
        await mesh.save(path, "x")
    assert os.listdir(tmp_path) == []
    assert await mesh.save(path, "x") == 13
    assert os.listdir(tmp_path) == ["crow.mp3"]
    assert path.read_bytes() == b"one two three"


async def test_nothing_is_sent_if_the_file_cannot_be_created(
    server: ScriptedServer, connect: Connect, tmp_path: Path
) -> None:
    mesh = connect(server.url)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        await mesh.save(tmp_path / "nowhere" / "crow.mp3", "x")
    with pytest.raises(IsADirectoryError):
        await mesh.save(tmp_path, "x")
    assert server.metadata == []


async def test_a_wav_file_has_its_true_length(server: ScriptedServer, connect: Connect, tmp_path: Path) -> None:
    header = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x22\x56\0\0\x44\xac\0\0\2\0\x10\0data\xff\xff\xff\xff"
    audio = respond(
        voice_pb2.SynthesizeResponse(request_id="r", audio=header + bytes(10)),
        voice_pb2.SynthesizeResponse(audio=bytes(90)),
    )
    server.script = [audio] * 2
    mesh = connect(server.url)
    await mesh.save(tmp_path / "a.wav", "x")
    file = await mesh.read("x")
    assert (tmp_path / "a.wav").read_bytes() == file
    assert (file[4:8], file[40:44], len(file)) == (b"\x88\0\0\0", b"\x64\0\0\0", 144)


async def test_a_conversation_speaks_its_text(server: ScriptedServer, connect: Connect) -> None:
    def speaks(requests: Any, context: grpc.ServicerContext) -> Any:
        config = next(requests).config
        info = voice_pb2.AudioInfo(content_type="audio/L16", sample_rate=config.audio.sample_rate)
        yield voice_pb2.ConverseResponse(request_id=config.request_id, model="espeak", info=info)
        for request in requests:
            yield voice_pb2.ConverseResponse(audio=request.text.upper().encode())
        yield voice_pb2.ConverseResponse(summary=voice_pb2.SpeechSummary(audio_ms=7))

    server.script = [refuse(UNAVAILABLE, "NO_ENDPOINT"), speaks]
    mesh = connect(server.url, timeout_s=5)
    audio, stream = await mesh.converse(
        ["a clever ", "", "crow"], model="espeak", voice="en", sample_rate=16_000, max_characters=99, request_id="c-1"
    )
    # The unavailable call was retried, and no text was lost with it.
    assert audio == b"A CLEVER CROW"
    assert (stream.attempts, stream.request_id, stream.model, stream.info.sample_rate) == (2, "c-1", "espeak", 16_000)
    assert stream.summary.audio_ms == 7
    assert server.requests[-3].config.controls.voice == "en"
    assert server.metadata[1]["x-enginehouse-ask-model"] == "espeak"
    assert server.metadata[1]["x-enginehouse-voice"] == "en"
    assert server.metadata[1]["x-enginehouse-max-characters"] == "99"
    # The client's timeout does not hold for calls that last as long as their text.
    assert server.time_remaining[1] is None or server.time_remaining[1] > 1000


async def test_an_error_of_the_text_ends_the_conversation(server: ScriptedServer, connect: Connect) -> None:
    def speaks(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c", model="espeak")
        for request in requests:
            yield voice_pb2.ConverseResponse(audio=request.text.encode())

    def broken() -> Any:
        yield "one"
        raise LookupError("the model is gone")

    server.script = [speaks]
    with pytest.raises(LookupError, match="the model is gone"):
        await connect(server.url).converse(broken())
    await server.wait_until_ended()


async def test_a_cut_conversation_is_not_retried(server: ScriptedServer, connect: Connect) -> None:
    def cut(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c", model="espeak", audio=b"x")
        abort(context, UNAVAILABLE, "ENGINE_DRAINING")

    server.script = [cut]
    with pytest.raises(Unavailable) as failed:
        await connect(server.url).converse(["one"])
    assert failed.value.reason == "ENGINE_DRAINING"
    assert len(server.metadata) == 1


async def test_a_refused_conversation_takes_no_text(server: ScriptedServer, connect: Connect) -> None:
    taken = threading.Event()

    def refuses(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        abort(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", message="no such voice")
        yield

    def texts() -> Any:
        taken.set()
        yield "one"

    server.script = [refuses]
    with pytest.raises(InvalidRequest, match="no such voice"):
        await connect(server.url).converse(texts())
    assert not taken.is_set()


async def test_leaving_a_conversation_cancels_it(server: ScriptedServer) -> None:
    def endless(requests: Any, context: grpc.ServicerContext) -> Any:
        next(requests)
        yield voice_pb2.ConverseResponse(request_id="c", model="espeak", audio=b"one")
        assert server.ended.wait(10)

    def run() -> tuple[bytes, bool]:
        blocked = threading.Event()

        def texts() -> Any:
            yield "one"
            assert blocked.wait(30)

        try:
            with Enginehouse(server.url, "eh_test_key") as mesh, mesh.converse(texts()) as stream:
                first = next(iter(stream))
                stream.close()
                # The call ends although the text blocks its thread.
                return first, server.ended.wait(10)
        finally:
            blocked.set()

    server.script = [endless]
    assert await asyncio.to_thread(run) == (b"one", True)


async def test_a_closed_stream_cannot_be_started(server: ScriptedServer) -> None:
    with Enginehouse(server.url, "eh_test_key") as mesh:
        stream = mesh.speak("x")
        stream.close()
        with pytest.raises(ValueError, match="closed before it was started"):
            stream.read()
    assert server.metadata == []
