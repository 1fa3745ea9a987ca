"""The models' own voices, and a tenant's cloned voices."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.api.voice.v1.voice_pb2 import Consent, CreateVoiceRequest, ListVoicesRequest
from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Samples, Utterance, VoiceInfo, VoiceModelInfo
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason
from engines.voice.tests.voice_engine import PCM, VoiceClient, refusal, running_engine, speech_model, tone

pytestmark = pytest.mark.asyncio(loop_scope="module")


CONSENT = Consent(speaker="Asha Rao", statement="My voice may be used for the story demo.", confirmed=True)


class EchoInfo:
    sample_rate = 24_000
    slots = 1
    voices = (VoiceInfo(voice_id="plain", name="Plain", languages=["en"]),)
    clones = True
    languages = ("en", "te")
    aliases: Mapping[str, str] = {}
    variants = ()
    max_text_length = 200
    prosody = frozenset({"speed"})


class EchoSpeaker:
    """Model whose speech is the voice's recording itself, which shows what reaches a model."""

    info = EchoInfo()

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        if utterance.clone is None:
            yield tone(0.2, rate=self.info.sample_rate)
            return
        with wave.open(str(utterance.clone.sample)) as file:
            yield np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.int16)

    async def close(self) -> None:
        pass


class EchoBackend:
    name = "echo"

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        return VoiceModelInfo(memory_bytes=1, speaker=EchoInfo())

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        return LoadedVoiceModel(info=await self.inspect(model), speaker=EchoSpeaker())


@pytest_asyncio.fixture(loop_scope="module")
async def cloner(tmp_path: Path) -> AsyncIterator[VoiceClient]:
    model = speech_model(
        "echo", backend="echo", source="package:echo", capabilities=frozenset({"speech", "voice_clone"})
    )
    async with running_engine([speech_model(), model], directory=tmp_path, backends=[EchoBackend()]) as client:
        yield client


def recording(seconds: float, *, rate: int = 16_000, silent: bool = False) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        samples = np.zeros(int(seconds * rate), np.int16) if silent else tone(seconds, rate=rate)
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def wish(**changes: Any) -> CreateVoiceRequest:
    fields: dict[str, Any] = {
        "name": "Asha", "sample": recording(4), "consent": CONSENT, "language": "te", "gender": voice_pb2.GENDER_FEMALE,
    }  # fmt: skip
    return CreateVoiceRequest(**(fields | changes))


async def create(client: VoiceClient, request: CreateVoiceRequest, **grant: Any) -> voice_pb2.Voice:
    metadata = client.metadata("CreateVoice", models=[], **grant)
    response = await client.stub.CreateVoice(request, metadata=metadata, timeout=30)
    voice: voice_pb2.Voice = response.voice
    return voice


async def listed(client: VoiceClient, tenant: str = "tenant-test", **fields: Any) -> list[voice_pb2.Voice]:
    found: list[voice_pb2.Voice] = []
    request = ListVoicesRequest(**fields)
    while True:
        metadata = client.metadata("ListVoices", models=[], tenant=tenant)
        page = await client.stub.ListVoices(request, metadata=metadata, timeout=30)
        found += page.voices
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_thousands_are_listed_page_by_page_and_each_once(engine: VoiceClient) -> None:
    found = await listed(engine, page_size=1000)
    ids = [voice.voice_id for voice in found]
    assert len(ids) > 10_000
    assert ids == sorted(set(ids))
    assert all(voice.models == ["espeak-ng"] for voice in found)
    page = await engine.stub.ListVoices(ListVoicesRequest(), metadata=engine.metadata("ListVoices", models=[]))
    assert len(page.voices) == 100


async def test_filters_match_voices(engine: VoiceClient) -> None:
    telugu = await listed(engine, language="te", page_size=1000)
    assert telugu
    assert all(voice.languages[0].partition("-")[0] == "te" for voice in telugu)
    women = await listed(engine, language="en", gender=voice_pb2.GENDER_FEMALE, page_size=1000)
    assert women
    assert all(voice.gender == voice_pb2.GENDER_FEMALE for voice in women)
    style = next(voice.style for voice in women if voice.style) if any(voice.style for voice in women) else "whisper"
    styled = await listed(engine, language="en", style=style.upper(), page_size=1000)
    assert styled
    assert {voice.style.lower() for voice in styled} == {style.lower()}
    assert await listed(engine, cloned=True) == []


@pytest.mark.parametrize(
    ("language", "like"),
    [
        ("te-IN", "te"),
        ("TE", "te"),
        ("en_gb", "en-GB"),
        ("en-IN", "en-GB"),
        ("nn-NO", "nb"),
        ("fr-CA", "fr"),
        ("xx", "xx"),
    ],
)
async def test_a_language_without_voices_of_its_own_lists_the_nearest(
    engine: VoiceClient, language: str, like: str
) -> None:
    found = await listed(engine, language=language, page_size=1000)
    assert [voice.voice_id for voice in found] == [
        voice.voice_id for voice in await listed(engine, language=like, page_size=1000)
    ]
    assert bool(found) == (language != "xx")


async def test_a_voice_is_cloned_used_and_deleted(cloner: VoiceClient) -> None:
    voice = await create(cloner, wish())
    assert (voice.name, list(voice.models), list(voice.languages)) == ("Asha", ["echo"], ["te"])
    assert (voice.cloned, voice.gender) == (True, voice_pb2.GENDER_FEMALE)
    assert [entry.voice_id for entry in await listed(cloner, cloned=True)] == [voice.voice_id]
    assert voice.voice_id in [entry.voice_id for entry in await listed(cloner, page_size=1000)]
    request = voice_pb2.SynthesizeRequest(
        text="కాకి.", audio=PCM, controls=voice_pb2.SpeechControls(voice=voice.voice_id)
    )
    spoken = await cloner.speak(request, models=["echo"])
    # The recording, at the rate for models.
    assert 3.8 < len(spoken.samples) / 24_000 < 4.1
    metadata = cloner.metadata("DeleteVoice", models=[])
    await cloner.stub.DeleteVoice(voice_pb2.DeleteVoiceRequest(voice_id=voice.voice_id), metadata=metadata)
    assert await listed(cloner, cloned=True) == []
    error = await refusal(cloner.speak(request, models=["echo"]))
    assert error.violations[0].field == "controls.voice"
    metadata = cloner.metadata("DeleteVoice", models=[])
    again = cloner.stub.DeleteVoice(voice_pb2.DeleteVoiceRequest(voice_id=voice.voice_id), metadata=metadata)
    assert (await refusal(again)).reason is Reason.NOT_FOUND


async def test_a_voice_belongs_to_its_tenant(cloner: VoiceClient) -> None:
    voice = await create(cloner, wish(), tenant="first")
    assert await listed(cloner, tenant="second", cloned=True) == []
    request = voice_pb2.SynthesizeRequest(
        text="Hello.", audio=PCM, controls=voice_pb2.SpeechControls(voice=voice.voice_id)
    )
    error = await refusal(cloner.speak(request, models=["echo"], tenant="second"))
    assert error.violations[0].field == "controls.voice"
    metadata = cloner.metadata("DeleteVoice", models=[], tenant="second")
    theirs = cloner.stub.DeleteVoice(voice_pb2.DeleteVoiceRequest(voice_id=voice.voice_id), metadata=metadata)
    assert (await refusal(theirs)).reason is Reason.NOT_FOUND
    assert [entry.voice_id for entry in await listed(cloner, tenant="first", cloned=True)] == [voice.voice_id]
    # Another tenant may use the name.
    await create(cloner, wish(), tenant="second")


async def test_another_model_does_not_speak_with_it(cloner: VoiceClient) -> None:
    voice = await create(cloner, wish())
    request = voice_pb2.SynthesizeRequest(
        text="Hello.", audio=PCM, controls=voice_pb2.SpeechControls(voice=voice.voice_id)
    )
    error = await refusal(cloner.speak(request, models=["espeak-ng"]))
    assert "was cloned for the model 'echo'" in error.message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"consent": Consent(speaker="a", statement="b")}, "consent.confirmed"),
        ({"consent": Consent(confirmed=True, statement="b")}, "consent.speaker"),
        ({"consent": Consent(confirmed=True, speaker="a")}, "consent.statement"),
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"sample": b""}, "sample"),
        ({"sample": b"not audio at all" * 100}, "sample"),
        ({"sample": recording(2.5)}, "sample"),
        ({"sample": recording(31)}, "sample"),
        ({"sample": recording(5, silent=True)}, "sample"),
        ({"language": ""}, "language"),
        ({"language": "fr"}, "language"),
    ],
)
async def test_invalid_clone_requests_are_refused(cloner: VoiceClient, changes: dict[str, Any], field: str) -> None:
    error = await refusal(create(cloner, wish(**changes)))
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == field
    assert await listed(cloner, cloned=True) == []


async def test_a_name_is_given_once(cloner: VoiceClient) -> None:
    await create(cloner, wish())
    assert (await refusal(create(cloner, wish()))).reason is Reason.ALREADY_EXISTS


async def test_cloning_needs_a_model_that_clones(engine: VoiceClient) -> None:
    error = await refusal(create(engine, wish()))
    assert error.reason is Reason.UNSUPPORTED_CAPABILITY
    error = await refusal(create(engine, wish(model="nobody")))
    assert error.reason is Reason.UNKNOWN_MODEL


async def test_a_models_own_voice_stays(engine: VoiceClient) -> None:
    metadata = engine.metadata("DeleteVoice", models=[])
    call = engine.stub.DeleteVoice(voice_pb2.DeleteVoiceRequest(voice_id="en-us"), metadata=metadata)
    assert (await refusal(call)).reason is Reason.FAILED_PRECONDITION


async def test_an_unsupported_control_is_refused_by_name(cloner: VoiceClient) -> None:
    request = voice_pb2.SynthesizeRequest(text="Hello.", audio=PCM, controls=voice_pb2.SpeechControls(pitch=3))
    error = await refusal(cloner.speak(request, models=["echo"]))
    assert error.reason is Reason.UNSUPPORTED_CAPABILITY
    assert "controls.pitch" in error.message
