"""Files that begin with their length: exact where the speech is whole in time, unknown where it is not."""

from __future__ import annotations

import asyncio
import base64
import io
import struct
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.api.voice.v1.voice_pb2 import AudioForm, SynthesizeRequest
from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Samples, Utterance, VoiceInfo, VoiceModelInfo
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.voice_engine import (
    AUDIO_MS,
    CHARACTERS,
    OPENAI,
    PCM,
    SynthesizedSpeech,
    VoiceClient,
    amounts,
    refusal,
    running_engine,
    speech_model,
    tone,
)

RATE = 24_000
UNKNOWN = 0xFFFFFFFF
SCRIPTED, SPARE = "scripted", "spare"
WAV, FLAC = voice_pb2.AUDIO_ENCODING_WAV, voice_pb2.AUDIO_ENCODING_FLAC
SHORT = "One sentence here. Two sentences here."
LATE = "One sentence here. Later there are two."
# Of each: two halves of a second, and the pause between.
LENGTH_MS = 1_250


class Script:
    """Decides when the model speaks on, and when the time for a whole speech is over."""

    def __init__(self) -> None:
        self.later = asyncio.Event()
        self.over = asyncio.Event()
        self.asked = asyncio.Event()
        self.pauses: list[float] = []
        self.made = 0

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.asked.set()
        await self.over.wait()


class ScriptedInfo:
    sample_rate = RATE
    slots = 1
    voices = (VoiceInfo(voice_id="plain", name="Plain", languages=["en"]),)
    clones = False
    languages = ("en",)
    aliases: Mapping[str, str] = {}
    variants = ()
    max_text_length = 200
    prosody: frozenset[str] = frozenset()


class ScriptedSpeaker:
    info = ScriptedInfo()

    def __init__(self, script: Script, *, name: str) -> None:
        self._script = script
        self._name = name

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        if "Later" in utterance.text:
            await self._script.later.wait()
        if "Broken" in utterance.text and self._name == SCRIPTED:
            raise ServiceError(Reason.BACKEND_FAILED, "the script ends here")
        self._script.made += 1
        yield tone(5 if "Long" in utterance.text else 0.5, rate=RATE)

    async def close(self) -> None:
        pass


class ScriptedBackend:
    name = SCRIPTED

    def __init__(self, script: Script) -> None:
        self._script = script

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        return VoiceModelInfo(memory_bytes=1, speaker=ScriptedInfo())

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        speaker = ScriptedSpeaker(self._script, name=model.name)
        return LoadedVoiceModel(info=await self.inspect(model), speaker=speaker)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest_asyncio.fixture
async def engine(script: Script, tmp_path: Path) -> AsyncIterator[VoiceClient]:
    models = [speech_model(name, backend=SCRIPTED, source="package:scripted") for name in (SCRIPTED, SPARE)]
    async with running_engine(
        models, directory=tmp_path, backends=[ScriptedBackend(script)], pause=script.pause
    ) as client:
        yield client


def request(text: str, encoding: voice_pb2.AudioEncoding.ValueType = WAV, **fields: Any) -> SynthesizeRequest:
    return SynthesizeRequest(text=text, audio=AudioForm(encoding=encoding), **fields)


async def speak(engine: VoiceClient, asked: SynthesizeRequest, **grant: Any) -> SynthesizedSpeech:
    return await engine.speak(asked, **{"models": [SCRIPTED], **grant})


def begin(engine: VoiceClient, asked: SynthesizeRequest) -> Any:
    return engine.stub.Synthesize(asked, metadata=engine.metadata("Synthesize", models=[SCRIPTED]), timeout=60)


async def rest(call: Any, *first: voice_pb2.SynthesizeResponse) -> SynthesizedSpeech:
    spoken = SynthesizedSpeech()
    for response in first:
        spoken.add(response)
    while (response := await call.read()) is not grpc.aio.EOF:
        spoken.add(response)
    return spoken


def frames(audio: bytes) -> int:
    """Return the length that a WAV file states, after checking that all its sizes are true."""
    assert struct.unpack("<I", audio[4:8])[0] == len(audio) - 8
    with wave.open(io.BytesIO(audio)) as file:
        count = file.getnframes()
        assert len(file.readframes(count + 1)) == 2 * count == len(audio) - 44
    return count


def flac_samples(audio: bytes) -> int:
    """Return the length in a FLAC file's STREAMINFO (RFC 9639, 8.2)."""
    assert audio[:4] == b"fLaC"
    return int.from_bytes(audio[18:26], "big") & (1 << 36) - 1


async def test_a_whole_speech_states_its_length(engine: VoiceClient, script: Script) -> None:
    """The time is never over here: nothing waits for it once the speech is whole."""
    plain = await speak(engine, SynthesizeRequest(text=SHORT, audio=PCM))
    assert not script.pauses
    for encoding in (WAV, voice_pb2.AUDIO_ENCODING_UNSPECIFIED):
        spoken = await speak(engine, request(SHORT, encoding))
        assert frames(spoken.audio) == len(plain.samples)
        assert spoken.audio[44:] == plain.audio
        assert (spoken.usage, list(spoken.done)) == (plain.usage, list(plain.done))
        assert spoken.summary.audio_ms == plain.summary.audio_ms
        assert spoken.responses[0].info.chunks == plain.responses[0].info.chunks > 1
        assert spoken.summary.time_to_first_audio_ms > 0
    flac = await speak(engine, request(SHORT, FLAC))
    assert flac_samples(flac.audio) == len(plain.samples)
    assert script.pauses == [0.2] * 3
    records = await engine.records(4)
    assert [amounts(record) for record in records] == [plain.usage] * 4
    assert {record.outcome for record in records} == {usage_pb2.OUTCOME_COMPLETED}


async def test_another_rate_and_a_later_chunk(engine: VoiceClient) -> None:
    form = AudioForm(sample_rate=8_000)
    spoken = await speak(engine, SynthesizeRequest(text=SHORT, audio=form, first_chunk=1))
    assert frames(spoken.audio) == pytest.approx(spoken.summary.audio_ms * 8, abs=8)


async def test_openais_path_states_the_length_too(engine: VoiceClient) -> None:
    async def speech(**fields: Any) -> bytes:
        body = orjson.dumps({"model": SCRIPTED, "input": SHORT, "voice": "plain", **fields})
        metadata = engine.metadata(f"{OPENAI}/CreateSpeech", models=[SCRIPTED])
        call = engine.openai.CreateSpeech(httpbody_pb2.HttpBody(data=body), metadata=metadata, timeout=60)
        return b"".join([piece.data async for piece in call])

    raw = await speech(response_format="pcm")
    assert frames(await speech(response_format="wav")) == len(raw) // 2
    assert flac_samples(await speech(response_format="flac")) == len(raw) // 2
    events = (await speech(response_format="wav", stream_format="sse")).decode().strip().split("\n\n")
    deltas = [orjson.loads(event.removeprefix("data: ")).get("audio", "") for event in events]
    assert frames(b"".join(map(base64.b64decode, deltas))) == len(raw) // 2


@pytest.mark.parametrize("encoding", [WAV, FLAC])
async def test_a_late_speech_begins_once_the_time_is_over(
    engine: VoiceClient, script: Script, encoding: voice_pb2.AudioEncoding.ValueType
) -> None:
    call = begin(engine, request(LATE, encoding))
    await script.asked.wait()
    script.over.set()
    # The model has not gone on.
    first = await call.read()
    assert first.info.encoding == encoding
    script.later.set()
    spoken = await rest(call, first)
    plain = await speak(engine, SynthesizeRequest(text=LATE, audio=PCM))
    if encoding == WAV:
        assert struct.unpack("<I", spoken.audio[4:8])[0] == struct.unpack("<I", spoken.audio[40:44])[0] == UNKNOWN
        assert spoken.audio[44:] == plain.audio
    else:
        assert flac_samples(spoken.audio) == 0
    assert (spoken.usage, list(spoken.done)) == (plain.usage, list(plain.done))
    assert [amounts(record) for record in await engine.records(2)] == [plain.usage] * 2


async def test_a_speech_that_is_late_but_in_time_states_its_length(engine: VoiceClient, script: Script) -> None:
    call = begin(engine, request(LATE))
    await script.asked.wait()
    script.later.set()
    assert frames((await rest(call)).audio) == LENGTH_MS * RATE // 1000


@pytest.mark.parametrize(
    "encoding",
    [
        voice_pb2.AUDIO_ENCODING_MP3,
        voice_pb2.AUDIO_ENCODING_OPUS,
        voice_pb2.AUDIO_ENCODING_AAC,
        voice_pb2.AUDIO_ENCODING_PCM,
    ],
)
async def test_files_without_a_length_are_not_held(
    engine: VoiceClient, script: Script, encoding: voice_pb2.AudioEncoding.ValueType
) -> None:
    call = begin(engine, request(LATE, encoding))
    assert (await call.read()).audio
    assert not script.pauses
    script.later.set()
    assert (await rest(call)).summary.audio_ms == LENGTH_MS


async def test_no_more_than_a_part_of_a_long_speech_is_held(engine: VoiceClient, script: Script) -> None:
    """The time is never over here, and the model never waits."""
    text = " ".join(f"Long sentence number {number}, which ends here." for number in range(400))
    call = begin(engine, request(text))
    first = await call.read()
    assert first.audio[40:44] == struct.pack("<I", UNKNOWN)
    # A slow reader: what was held, what is on its way, and no more.
    assert script.made < 100
    call.cancel()
    [record] = await engine.records(1)
    assert 0 < amounts(record)[CHARACTERS] < len(text) / 4
    assert engine.busy() == 0


async def test_a_caller_who_leaves_before_anything_was_sent_owes_nothing(engine: VoiceClient, script: Script) -> None:
    call = begin(engine, request(LATE))
    await script.asked.wait()
    call.cancel()
    [record] = await engine.records(1)
    assert (amounts(record), record.outcome) == ({}, usage_pb2.OUTCOME_CANCELLED)
    assert record.usage.cost_nanos == 0
    await engine.rest()


async def test_a_failure_before_anything_was_sent(engine: VoiceClient) -> None:
    text = "One sentence here. Broken is the second."
    error = await refusal(speak(engine, request(text)))
    assert (error.reason, error.message) == (Reason.BACKEND_FAILED, "the script ends here")
    [record] = await engine.records(1)
    assert (amounts(record), record.outcome) == ({}, usage_pb2.OUTCOME_FAILED)
    # Another model may still answer, and its speech alone is billed.
    spoken = await speak(engine, request(text), models=[SCRIPTED, SPARE])
    assert spoken.responses[0].model == SPARE
    assert frames(spoken.audio) == LENGTH_MS * RATE // 1000
    assert spoken.usage == {CHARACTERS: len(text), AUDIO_MS: LENGTH_MS}
    records = await engine.records(2)
    assert [amounts(record) for record in records] == [{}, spoken.usage]


async def test_a_failure_after_the_time_is_billed_for_what_was_sent(engine: VoiceClient, script: Script) -> None:
    call = begin(engine, request("One sentence here. Later it is Broken."))
    await script.asked.wait()
    script.over.set()
    assert (await call.read()).audio
    script.later.set()
    with pytest.raises(grpc.aio.AioRpcError, match="the script ends here"):
        await rest(call)
    [record] = await engine.records(1)
    assert (amounts(record)[AUDIO_MS], record.outcome) == (750, usage_pb2.OUTCOME_FAILED)


async def test_a_speech_that_the_cap_ends_states_what_is_there(engine: VoiceClient) -> None:
    spoken = await speak(engine, request(SHORT), prices={AUDIO_MS: 1_000_000}, cap_nanos=723)
    assert spoken.summary.stopped_by_budget
    assert frames(spoken.audio) == 723 * RATE // 1000
    assert spoken.usage[AUDIO_MS] == spoken.summary.usage.cost_nanos == 723
    error = await refusal(speak(engine, request(SHORT), prices={CHARACTERS: 1_000_000}, cap_nanos=3))
    assert error.reason is Reason.BUDGET_EXHAUSTED
    records = await engine.records(2)
    assert [record.outcome for record in records] == [usage_pb2.OUTCOME_CAPPED] * 2


async def test_speech_that_is_longer_than_was_reserved_is_extended(engine: VoiceClient) -> None:
    spoken = await speak(engine, request(SHORT), cap_nanos=10, replica_address=engine.router_address)
    assert not spoken.summary.stopped_by_budget
    assert frames(spoken.audio) == LENGTH_MS * RATE // 1000
    assert np.abs(spoken.samples).max() > 3000
