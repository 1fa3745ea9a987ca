"""A recording that is longer than its header says: transcribed whole and billed whole, or ended by what bounds it."""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import openai
import pytest

from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.kit.errors import Reason, from_rpc_error
from enginehouse.kit.media_length import length_bound_ms
from tests.mesh import Mesh

TEXT = "One two three four five. Six seven eight nine ten. " * 3
RATE = 8000
# Of pocketsphinx-en-us in the default catalog.
NANOS_PER_MS = 20


@pytest.fixture
async def voice(mesh: Mesh) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        yield voice_pb2_grpc.VoiceServiceStub(channel)


@pytest.fixture
async def samples(mesh: Mesh, voice: Any) -> bytes:
    """Speech in mu-law, a byte a sample."""
    form = voice_pb2.AudioForm(encoding=voice_pb2.AUDIO_ENCODING_PCM, sample_rate=RATE)
    request = voice_pb2.SynthesizeRequest(text=TEXT, audio=form)
    audio = b"".join([part.audio async for part in voice.Synthesize(request, metadata=metadata(mesh.key), timeout=60)])
    return bytes(mu_law(sample) for (sample,) in struct.iter_unpack("<h", audio))


def mu_law(sample: int) -> int:
    """Return the code of a sample of 16 bits."""
    size = min(abs(sample), 32_635) + 132
    exponent = size.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | size >> (exponent + 3) & 15) & 0xFF


def recording(samples: bytes, *, bits: int) -> bytes:
    """Return a WAV file whose header says that a sample has so many bits; a decoder knows that it has 8."""
    form = struct.pack("<HHIIHH", 7, 1, RATE, RATE, 1, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def metadata(key: str, **headers: str) -> tuple[tuple[str, str], ...]:
    named = tuple((f"x-enginehouse-{name.replace('_', '-')}", value) for name, value in headers.items())
    return (("authorization", f"Bearer {key}"), ("x-enginehouse-ask-model", "pocketsphinx-en-us"), *named)


async def heard(voice: Any, key: str, audio: bytes, **headers: str) -> voice_pb2.RecognizeResponse:
    request = voice_pb2.RecognizeRequest(model="pocketsphinx-en-us", audio=audio)
    answer = await voice.Recognize(request, metadata=metadata(key, **headers), timeout=120)
    assert isinstance(answer, voice_pb2.RecognizeResponse)
    return answer


def spent(mesh: Mesh, key_id: str, expected: int) -> int:
    deadline = time.monotonic() + 15
    while (total := mesh.spend(key_id)) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    return total


async def test_it_is_transcribed_and_billed_whole(mesh: Mesh, voice: Any, samples: bytes) -> None:
    honest, understated = recording(samples, bits=8), recording(samples, bits=32)
    length_ms = len(samples) * 1000 // RATE
    assert length_bound_ms(understated) < length_ms / 2
    whole = await heard(voice, mesh.key, honest)
    assert whole.text
    assert not whole.stopped_by_budget
    for name, budget in (("free", None), ("ample", 10**9)):
        key_id, key = mesh.create_key(f"long-{name}", budget_nanos=budget)
        answer = await heard(voice, key, understated)
        assert not answer.stopped_by_budget
        assert (answer.text, answer.duration_ms, answer.usage) == (whole.text, whole.duration_ms, whole.usage)
        assert abs(answer.duration_ms - length_ms) < 100
        assert answer.usage.cost_nanos == answer.duration_ms * NANOS_PER_MS
        assert spent(mesh, key_id, answer.usage.cost_nanos) == answer.usage.cost_nanos
        with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0) as client:
            told = client.audio.transcriptions.create(model="pocketsphinx-en-us", file=("a.wav", understated))
        assert told.text == whole.text
        assert spent(mesh, key_id, 2 * answer.usage.cost_nanos) == 2 * answer.usage.cost_nanos


async def test_a_budget_without_more_ends_it_and_is_told_as_such(mesh: Mesh, voice: Any, samples: bytes) -> None:
    understated = recording(samples, bits=32)
    budget = length_bound_ms(understated) * NANOS_PER_MS * 3 // 2
    assert budget < len(samples) * 1000 // RATE * NANOS_PER_MS
    key_id, key = mesh.create_key("long-poor", budget_nanos=budget)
    with (
        openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=key, max_retries=0) as poor,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        poor.audio.transcriptions.create(model="pocketsphinx-en-us", file=("a.wav", understated))
    assert caught.value.code == "insufficient_quota"
    first = spent(mesh, key_id, budget)
    assert length_bound_ms(understated) * NANOS_PER_MS <= first <= budget
    key_id, key = mesh.create_key("long-poor-typed", budget_nanos=budget)
    answer = await heard(voice, key, understated)
    assert answer.stopped_by_budget
    assert answer.usage.cost_nanos <= budget
    assert spent(mesh, key_id, answer.usage.cost_nanos) == answer.usage.cost_nanos


async def test_the_requests_own_bounds_hold(mesh: Mesh, voice: Any, samples: bytes) -> None:
    understated = recording(samples, bits=32)
    key_id, key = mesh.create_key("long-bounded")
    total = 0
    for headers, most in (
        ({"max_cost_nanos": "150000"}, 150_000),
        ({"max_cost_nanos": "1"}, 1),
        ({"max_audio_seconds": "6"}, 6000 * NANOS_PER_MS),
    ):
        answer = await heard(voice, key, understated, **headers)
        assert answer.stopped_by_budget, headers
        assert answer.usage.cost_nanos <= most
        total += answer.usage.cost_nanos
    assert spent(mesh, key_id, total) == total
    # Nothing means nothing, and not that there is no bound.
    try:
        answer = await heard(voice, key, understated, max_cost_nanos="0")
        assert (answer.stopped_by_budget, answer.usage.cost_nanos) == (True, 0)
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc_error(error)
        assert refusal is not None
        assert refusal.reason is Reason.BUDGET_EXHAUSTED
    assert spent(mesh, key_id, total) == total
