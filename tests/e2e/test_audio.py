"""Speech through the whole mesh: OpenAI's own client, gRPC, curl's forms; what it costs, and what is refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
import wave
from collections.abc import AsyncIterator, Iterator
from typing import Any

import av
import grpc
import httpx
import openai
import pytest

from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.kit.errors import Reason, from_rpc_error
from tests.mesh import Mesh

TEXT = "One two three four five. Six seven eight nine ten."


@pytest.fixture(scope="module")
def client(mesh: Mesh) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.key, max_retries=0, timeout=60) as connected:
        yield connected


@pytest.fixture
async def voice(mesh: Mesh) -> AsyncIterator[Any]:
    options = [("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20)]
    async with grpc.aio.insecure_channel(mesh.target, options=options) as channel:
        yield voice_pb2_grpc.VoiceServiceStub(channel)


def metadata(key: str, **headers: str) -> tuple[tuple[str, str], ...]:
    named = tuple((f"x-enginehouse-{name.replace('_', '-')}", value) for name, value in headers.items())
    return (("authorization", f"Bearer {key}"), *named)


def spent(mesh: Mesh, key_id: str, expected: int) -> int:
    deadline = time.monotonic() + 15
    while True:
        total = int(mesh.command("spend", "--key", key_id)["total_nanos"])
        if total == expected or time.monotonic() > deadline:
            return total
        time.sleep(0.1)


def test_the_words_of_a_speech_are_shown_for_nothing(mesh: Mesh) -> None:
    body = {"text": "Hay 10 000 gatos a -5 °C. **Fin** 😀", "controls": {"language": "es"}}
    headers = {"authorization": f"Bearer {mesh.key}"}
    answer = httpx.post(f"{mesh.url}/v1/voice/plan", headers=headers, json=body, timeout=60)
    assert answer.status_code == 200
    plan = answer.json()
    said = [(said["text"], said["language"]) for chunk in plan["chunks"] for said in chunk["utterances"]]
    assert said == [("Hay 10000 gatos a menos 5 grados Celsius.", "es"), ("Fin", "es")]
    assert plan["model"] == "espeak-ng"
    assert httpx.post(f"{mesh.url}/v1/voice/plan", json=body, timeout=60).status_code == 401


def test_openais_client_speaks_and_listens(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="auto", voice="alloy", input=TEXT, response_format="wav"
    ) as response:
        assert response.headers["content-type"] == "audio/wav"
        assert response.headers["x-enginehouse-model"] == "espeak-ng"
        audio = b"".join(response.iter_bytes())
    with wave.open(io.BytesIO(audio)) as file:
        assert (file.getframerate(), file.getnframes()) == (22_050, (len(audio) - 44) // 2)
    heard = client.audio.transcriptions.create(model="auto", file=("a.wav", audio))
    assert heard.text
    verbose = client.audio.transcriptions.create(
        model="auto", file=("a.wav", audio), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert verbose.text == heard.text
    assert verbose.language == "english"
    assert verbose.words
    assert verbose.words[-1].end <= float(verbose.duration)
    text = client.audio.transcriptions.create(model="auto", file=("a.wav", audio), response_format="text")
    assert str(text).strip() == heard.text
    events = list(client.audio.transcriptions.create(model="auto", file=("a.wav", audio), stream=True))
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == heard.text


async def test_a_short_text_states_its_length_by_every_way(mesh: Mesh, voice: Any) -> None:
    text = "One crow, two crows."
    request = voice_pb2.SynthesizeRequest(text=text, model="espeak-ng")
    responses = [response async for response in voice.Synthesize(request, metadata=metadata(mesh.key), timeout=60)]
    files = [b"".join(response.audio for response in responses)]
    headers = {"authorization": f"Bearer {mesh.key}"}
    async with httpx.AsyncClient(base_url=mesh.url, headers=headers, timeout=60) as http:
        answer = await http.post("/v1/voice/synthesize", json={"text": text, "model": "espeak-ng"})
        events = [json.loads(event.removeprefix("data: ")) for event in answer.text.strip().split("\n\n")]
        files.append(b"".join(base64.b64decode(event.get("audio", "")) for event in events))
        body = {"input": text, "model": "espeak-ng", "voice": "alloy", "response_format": "wav"}
        files.append((await http.post("/v1/audio/speech", json=body)).content)
        flac = (await http.post("/v1/audio/speech", json=body | {"response_format": "flac"})).content
    for audio in files:
        assert int.from_bytes(audio[4:8], "little") == len(audio) - 8
        with wave.open(io.BytesIO(audio)) as file:
            assert file.getnframes() == (len(audio) - 44) // 2 > file.getframerate() // 2
    with av.open(io.BytesIO(flac)) as decoder:
        samples = sum(frame.samples for frame in decoder.decode(audio=0))
    # The last 36 bits of the eight bytes that begin with the sample rate (RFC 9639, 8.2).
    assert int.from_bytes(flac[18:26], "big") & (1 << 36) - 1 == samples > 0


# Its newest versions call translations deprecated, and make them all the same.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_openais_client_raises_what_is_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.speech.create(model="auto", voice="nobody-at-all", input="x")
    assert caught.value.param == "voice"
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="auto", file=("a.wav", b"no audio"))
    assert caught.value.param == "file"
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.translations.create(model="pocketsphinx-en-us", file=("a.wav", b"RIFF"))
    assert "translation" in caught.value.message
    with pytest.raises(openai.NotFoundError):
        client.audio.speech.create(model="tts-9", voice="alloy", input="x")


def test_speech_and_listening_cost_what_was_told(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("voice-costs", budget_nanos=10**9)

    async def used() -> list[int]:
        async with grpc.aio.insecure_channel(mesh.target) as channel:
            stub: Any = voice_pb2_grpc.VoiceServiceStub(channel)
            request = voice_pb2.SynthesizeRequest(text=TEXT)
            responses = [response async for response in stub.Synthesize(request, metadata=metadata(key), timeout=60)]
            audio = b"".join(response.audio for response in responses)
            heard = await stub.Recognize(voice_pb2.RecognizeRequest(audio=audio), metadata=metadata(key), timeout=60)
            return [responses[-1].summary.usage.cost_nanos, heard.usage.cost_nanos]

    costs = asyncio.run(used())
    assert min(costs) > 0
    assert spent(mesh, key_id, sum(costs)) == sum(costs)


def test_a_budget_that_cannot_pay_says_so(mesh: Mesh) -> None:
    _, key = mesh.create_key("voice-poor", budget_nanos=10)
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0) as poor:
        with pytest.raises(openai.RateLimitError) as caught:
            poor.audio.speech.create(model="auto", voice="alloy", input=TEXT)
        assert caught.value.code == "insufficient_quota"


async def test_a_conversation_through_the_mesh(mesh: Mesh, voice: Any) -> None:
    call = voice.Converse(metadata=metadata(mesh.key, ask_model="espeak-ng", max_characters="500"), timeout=60)
    await call.write(voice_pb2.ConverseRequest(config=voice_pb2.ConverseConfig()))
    first = await call.read()
    assert first.model == "espeak-ng"
    for token in ("The cr", "ow fl", "ew. ", "Aw", "ay."):
        await call.write(voice_pb2.ConverseRequest(text=token))
    await call.done_writing()
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    assert sum(len(response.audio) for response in responses) > 20_000
    assert responses[-1].HasField("summary")


async def test_live_speech_through_the_mesh(mesh: Mesh, voice: Any) -> None:
    form = voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_PCM, sample_rate=16_000)
    request = voice_pb2.SynthesizeRequest(text=TEXT, audio=form)
    spoken = [response async for response in voice.Synthesize(request, metadata=metadata(mesh.key), timeout=60)]
    audio = b"".join(response.audio for response in spoken)

    async def messages() -> AsyncIterator[voice_pb2.StreamingRecognizeRequest]:
        config = voice_pb2.StreamingRecognizeConfig(sample_rate=16_000)
        yield voice_pb2.StreamingRecognizeRequest(config=config)
        for start in range(0, len(audio), 6400):
            yield voice_pb2.StreamingRecognizeRequest(audio=audio[start : start + 6400])

    headers = metadata(mesh.key, max_audio_seconds="30")
    recognized = [response async for response in voice.StreamingRecognize(messages(), metadata=headers, timeout=60)]
    assert any(response.result.is_final for response in recognized)
    assert abs(recognized[-1].summary.audio_ms - len(audio) // 32) < 30


async def test_a_stream_for_a_model_that_is_none_is_refused_before_it_begins(mesh: Mesh, voice: Any) -> None:
    call = voice.Converse(metadata=metadata(mesh.key, ask_model="nobody"), timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.write(voice_pb2.ConverseRequest(config=voice_pb2.ConverseConfig()))
        await call.read()
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.UNKNOWN_MODEL


def test_a_large_recording_passes_and_a_larger_one_is_refused(mesh: Mesh) -> None:
    quiet = io.BytesIO()
    with wave.open(quiet, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(48_000)
        file.writeframes(bytes(20 << 20))
    headers = {"authorization": f"Bearer {mesh.key}"}
    url = f"{mesh.url}/v1/audio/transcriptions"
    large = httpx.post(
        url, headers=headers, data={"model": "auto"}, files={"file": ("a.wav", quiet.getvalue())}, timeout=60
    )
    assert large.status_code == 200, large.text
    assert large.json()["text"] == ""
    assert large.json()["usage"]["seconds"] == -(-(20 << 20) // (48_000 * 6))
    larger = httpx.post(
        url, headers=headers, data={"model": "auto"}, files={"file": ("a.wav", bytes(28 << 20))}, timeout=60
    )
    assert larger.status_code == 413
    assert larger.json()["error"]["code"] == "request_too_large"
    # Other services take no more than before.
    chat = httpx.post(f"{mesh.url}/v1/chat/completions", headers=headers, content=bytes(5 << 20), timeout=60)
    assert chat.status_code == 413


def test_voices_over_json(mesh: Mesh) -> None:
    headers = {"authorization": f"Bearer {mesh.key}"}
    page = httpx.get(f"{mesh.url}/v1/voices", params={"language": "te", "page_size": 2}, headers=headers).json()
    assert [voice["languages"][0] for voice in page["voices"]] == ["te", "te"]
    assert page["next_page_token"]
    body = {"name": "x", "language": "en", "sample": "", "consent": {"confirmed": False}}
    refused = httpx.post(f"{mesh.url}/v1/voices", headers=headers, content=json.dumps(body))
    assert refused.status_code == 400
    assert "consent" in refused.text
