"""OpenAI's audio endpoints over the real engine, as bytes."""

from __future__ import annotations

import io
import json
import wave
from typing import Any

import grpc
import httpx
import orjson
import pytest
from google.api import httpbody_pb2

from enginehouse.api.openai.v1 import audio_pb2
from enginehouse.kit.openai import ERROR_METADATA_KEY
from engines.voice.tests.voice_engine import AUDIO_MS, OPENAI, VoiceClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def post(
    client: VoiceClient, method: str, body: httpbody_pb2.HttpBody, *, model: str, **grant: Any
) -> tuple[str, bytes]:
    metadata = client.metadata(f"{OPENAI}/{method}", models=[model], **grant)
    call = getattr(client.openai, method)(body, metadata=metadata, timeout=60)
    pieces = [piece async for piece in call]
    return pieces[0].content_type, b"".join(piece.data for piece in pieces)


async def speech(client: VoiceClient, **fields: Any) -> tuple[str, bytes]:
    body = orjson.dumps({"model": "espeak-ng", "input": "One two three.", "voice": "en-us", **fields})
    return await post(client, "CreateSpeech", httpbody_pb2.HttpBody(data=body), model="espeak-ng")


async def transcription(client: VoiceClient, audio: bytes, **fields: Any) -> tuple[str, bytes]:
    grant = fields.pop("grant", {})
    request = httpx.Request(
        "POST", "http://x", files={"file": ("a.wav", audio)}, data={"model": "pocketsphinx", **fields}
    )
    body = httpbody_pb2.HttpBody(content_type=request.headers["content-type"], data=request.read())
    return await post(client, "CreateTranscription", body, model="pocketsphinx", **grant)


def told(error: grpc.aio.AioRpcError) -> tuple[int, dict[str, Any]]:
    import base64

    value = next(value for key, value in error.trailing_metadata() if key == ERROR_METADATA_KEY)
    status, _, encoded = str(value).partition(";")
    return int(status), json.loads(base64.urlsafe_b64decode(encoded))["error"]


async def test_speech_is_bytes_of_the_requested_format(engine: VoiceClient) -> None:
    kind, audio = await speech(engine, response_format="wav")
    assert kind == "audio/wav"
    assert audio[:4] == b"RIFF"
    kind, audio = await speech(engine)
    assert kind == "audio/mpeg"
    assert len(audio) > 2000
    # OpenAI's clients play raw samples at 24 kHz.
    half = (await speech(engine, response_format="pcm", sample_rate=12_000))[1]
    whole = (await speech(engine, response_format="pcm"))[1]
    assert len(whole) == pytest.approx(2 * len(half), rel=0.01)


async def test_openais_voices_have_aliases(engine: VoiceClient) -> None:
    alloy = (await speech(engine, voice="alloy", response_format="pcm"))[1]
    onyx = (await speech(engine, voice="onyx", response_format="pcm"))[1]
    assert alloy
    assert alloy != onyx


async def test_speech_as_events(engine: VoiceClient) -> None:
    kind, body = await speech(engine, stream_format="sse", response_format="pcm")
    assert kind == "text/event-stream"
    events = [json.loads(line.removeprefix("data: ")) for line in body.decode().strip().split("\n\n")]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["input_tokens"] == len("One two three.")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"voice": "nobody-at-all"}, "voice"),
        ({"input": "\x01"}, "input"),
        ({"input": "<speak>", "input_type": "ssml"}, "input"),
        ({"language": "xx"}, "language"),
        ({"response_format": "opus", "sample_rate": 44_100}, "sample_rate"),
    ],
)
async def test_faults_are_named_as_openais_parameters(engine: VoiceClient, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await speech(engine, **fields)
    status, error = told(caught.value)
    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error")


async def test_a_transcription_in_each_format(engine: VoiceClient) -> None:
    audio = (await speech(engine, response_format="wav", input="One two three four five."))[1]
    kind, body = await transcription(engine, audio)
    text = json.loads(body)["text"]
    assert kind == "application/json"
    assert text
    assert (await transcription(engine, audio, response_format="text"))[1].decode().strip() == text
    assert " --> " in (await transcription(engine, audio, response_format="srt"))[1].decode()
    assert (await transcription(engine, audio, response_format="vtt"))[1].startswith(b"WEBVTT")
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]}
    verbose = json.loads((await transcription(engine, audio, **fields))[1])
    assert verbose["text"] == text
    assert [word["word"] for word in verbose["words"]] == text.split()
    assert verbose["segments"][0]["end"] <= verbose["duration"]
    kind, body = await transcription(engine, audio, stream="true")
    assert kind == "text/event-stream"
    assert body.endswith(b"data: [DONE]\n\n")


async def test_an_invalid_file_is_named_as_the_file(engine: VoiceClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await transcription(engine, b"no audio")
    status, error = told(caught.value)
    assert (status, error["param"]) == (400, "file")


async def test_a_text_over_the_budget_is_refused(engine: VoiceClient) -> None:
    audio = (await speech(engine, response_format="wav", input="One two three four five."))[1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await transcription(engine, audio, grant={"prices": {AUDIO_MS: 1_000_000}, "cap_nanos": 500})
    status, error = told(caught.value)
    assert (status, error["code"]) == (429, "insufficient_quota")


async def test_voices_are_listed(engine: VoiceClient) -> None:
    metadata = engine.metadata(f"{OPENAI}/ListVoices", models=[])
    body = await engine.openai.ListVoices(audio_pb2.ListVoicesRequest(language="te"), metadata=metadata, timeout=60)
    listed = json.loads(body.data)
    assert listed["object"] == "list"
    assert listed["data"]
    assert all(voice["languages"][0] == "te" for voice in listed["data"])


async def test_a_streamed_wav_is_read_by_the_standard_library(engine: VoiceClient) -> None:
    audio = (await speech(engine, response_format="wav"))[1]
    with wave.open(io.BytesIO(audio)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        assert len(file.readframes(10_000)) == 20_000
