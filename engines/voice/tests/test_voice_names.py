"""The voices that names in requests mean: ids, aliases, OpenAI's names and language tags."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

import orjson
import pytest
import pytest_asyncio
from google.api import httpbody_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.api.openai.v1 import audio_pb2
from enginehouse.api.voice.v1.voice_pb2 import (
    ConverseConfig,
    ConverseRequest,
    SpeechControls,
    SynthesizeRequest,
)
from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Samples, Utterance, VoiceInfo, VoiceModelInfo
from enginehouse.engines.voice.text import UnknownVoice
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason
from enginehouse.kit.languages import fold_tag, language_of
from enginehouse.kit.voice_names import OPENAI_VOICES, VoiceFit, voice_fit
from engines.voice.tests.voice_engine import (
    OPENAI,
    PCM,
    VoiceClient,
    recognition_model,
    refusal,
    running_engine,
    speech_model,
    tone,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ESPEAK, FEW = "espeak-ng", "few"
UTTERANCES: list[Utterance] = []


class FewInfo:
    """A model with an English and a Spanish voice."""

    sample_rate = 24_000
    slots = 1
    voices = (
        VoiceInfo(voice_id="Joe_Medium", name="Joe", languages=["en-US"]),
        VoiceInfo(voice_id="lola", name="Lola", languages=["es-ES"]),
    )
    clones = False
    languages = ("en", "es")
    aliases: Mapping[str, str] = {"Narrator": "Joe_Medium"}
    variants = ()
    max_text_length = 200
    prosody = frozenset({"speed"})


class FewSpeaker:
    info = FewInfo()

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        UTTERANCES.append(utterance)
        yield tone(0.1, rate=self.info.sample_rate)

    async def close(self) -> None:
        pass


class FewBackend:
    name = FEW

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        return VoiceModelInfo(memory_bytes=1, speaker=FewInfo())

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        return LoadedVoiceModel(info=await self.inspect(model), speaker=FewSpeaker())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VoiceClient]:
    models = [
        speech_model(),
        speech_model(FEW, backend=FEW, source="package:few"),
        speech_model("reading", options={"workers": 1, "aliases": {"reader": "te+m3"}}, languages=("te",)),
        recognition_model(),
    ]
    async with running_engine(models, directory=tmp_path_factory.mktemp("voice"), backends=[FewBackend()]) as running:
        yield running


def find(client: VoiceClient, name: str, *, model: str = ESPEAK) -> str:
    return client.engine.voices.find(name, model=model, tenant_id="tenant-test")


def miss(client: VoiceClient, name: str, *, model: str = ESPEAK) -> str:
    with pytest.raises(UnknownVoice) as raised:
        find(client, name, model=model)
    return str(raised.value)


def controlled(text: str, **controls: Any) -> SynthesizeRequest:
    return SynthesizeRequest(text=text, audio=PCM, controls=SpeechControls(**controls))


@pytest.mark.parametrize(
    ("name", "voice"),
    [
        ("en", "en-us"),
        ("EN", "en-us"),
        ("en-IN", "en-gb"),
        ("en_gb", "en-gb"),
        ("en-GB-oxendict", "en-gb"),
        ("en-JM", "en-029"),
        ("fr", "fr-fr"),
        ("fr-CA", "fr-fr"),
        ("te-IN", "te"),
        ("te-Telu-IN", "te"),
        ("pt-BR", "pt-br"),
        ("pt", "pt"),
        ("es-MX", "es-419"),
        ("zh-Hans-CN", "cmn"),
        ("zh-HK", "yue"),
        ("nn", "nb"),
        ("tel", "te"),
        ("en-us+f3", "en-us+f3"),
        ("en+F3", "en-us+f3"),
        ("te-IN+f2", "te+f2"),
        ("+f3", "+f3"),
        ("Alloy", "+f2"),
        ("alloy+m3", "+m3"),
        ("cmn-latn-pinyin", "cmn-latn-pinyin"),
    ],
)
async def test_a_name_means_the_nearest_voice_of_espeak(client: VoiceClient, name: str, voice: str) -> None:
    assert find(client, name) == voice


@pytest.mark.parametrize(
    ("name", "voice"),
    [
        ("joe-medium", "Joe_Medium"),
        ("JOE_MEDIUM", "Joe_Medium"),
        ("narrator", "Joe_Medium"),
        ("en", "Joe_Medium"),
        ("en-GB", "Joe_Medium"),
        ("en-IN", "Joe_Medium"),
        ("es", "lola"),
        ("es-419", "lola"),
        ("alloy", ""),
    ],
)
async def test_a_model_with_few_voices_has_one_for_every_region(client: VoiceClient, name: str, voice: str) -> None:
    assert find(client, name, model=FEW) == voice


async def test_openais_names_speak_with_every_model(client: VoiceClient) -> None:
    for model in (ESPEAK, FEW, "reading"):
        voices = client.engine.models.find(model).info.speaker
        assert {find(client, name, model=model).removeprefix("+") for name in OPENAI_VOICES} <= {"", *voices.variants}
    audio = [await client.speak(controlled("One two.", voice=name)) for name in OPENAI_VOICES]
    assert len({spoken.audio for spoken in audio}) == len(OPENAI_VOICES)
    # By the model's own voice, where the operator's aliases leave them out.
    own, named = [await client.speak(controlled("One.", voice=name), models=["reading"]) for name in ("", "nova")]
    assert own.audio == named.audio
    reader, voice = [await client.speak(controlled("కాకి.", voice=name)) for name in ("te+m3", "te")]
    aliased = await client.speak(controlled("కాకి.", voice="Reader"), models=["reading"])
    assert aliased.audio == reader.audio != voice.audio


@pytest.mark.parametrize(
    ("name", "hints"),
    [
        ("en-uss", ["'en-us'"]),
        ("en-us+f33", ["'en-us+f3'"]),
        ("en+f33", ["'en+f3'"]),
        ("Aloy", ["'alloy'"]),
        ("+wisper", ["'+whisper'"]),
        ("en-us+", ["'en-us+"]),
        ("tlh", ["speaks no such language", "'th'"]),
        ("xx-YY", ["speaks no such language", "nearest are"]),
        ("no-such-voice", ["nearest are"]),
        ("../../voices/!v/f3", ["nearest are"]),
    ],
)
async def test_a_miss_names_the_nearest(client: VoiceClient, name: str, hints: list[str]) -> None:
    message = miss(client, name)
    for hint in [f"'espeak-ng' has no voice {name!r}", *hints, "ListVoices", "enginehouse voices"]:
        assert hint in message


async def test_a_miss_names_the_models_that_have_the_voice(client: VoiceClient) -> None:
    assert "'few' has no voice 'te-IN', and speaks no such language; use the model 'espeak-ng' or" in miss(
        client, "te-IN", model=FEW
    )
    assert "'few' has no voice 'en+f3': its voices have no variants; use the model" in miss(client, "en+f3", model=FEW)
    assert "use the model 'few', which has it" in miss(client, "lola")
    error = await refusal(client.speak(controlled("x", voice="te"), models=[FEW]))
    assert (error.reason, error.violations[0].field) == (Reason.INVALID_REQUEST, "controls.voice")
    assert "'te'" in error.message


async def test_a_miss_of_every_model_names_the_nearest_of_all(client: VoiceClient) -> None:
    assert "has no voice 'lolo'; the nearest are 'lola'" in miss(client, "lolo", model=FEW)
    assert "'lola' of 'few'" in miss(client, "lolo")
    assert "the nearest are 'th', " in miss(client, "tlh", model=FEW)
    assert miss(client, "tlh", model=FEW).count(" of 'espeak-ng' (") == 1


async def test_every_listed_voice_means_itself(client: VoiceClient) -> None:
    for model, listed in ((ESPEAK, 14_000), (FEW, 2)):
        voices = client.engine.models.find(model).info.speaker.voices
        assert len(voices) >= listed
        step = max(1, len(voices) // 3000)
        assert all(find(client, voice.voice_id, model=model) == voice.voice_id for voice in voices[::step])


async def test_every_tag_of_a_voice_means_a_voice_of_that_language(client: VoiceClient) -> None:
    for model in (ESPEAK, FEW):
        voices = {voice.voice_id: voice for voice in client.engine.models.find(model).info.speaker.voices}
        for voice in voices.values():
            if "+" in voice.voice_id:
                continue
            for tag in voice.languages:
                found = voices[find(client, tag.upper(), model=model)]
                assert language_of(tag) in {language_of(spoken) for spoken in found.languages}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.one_of(
        st.text(min_size=1, max_size=140),
        st.from_regex(r"[a-zA-Z]{2,3}([-_][a-zA-Z0-9]{2,5}){0,2}(\+[a-z0-9]{0,3})?", fullmatch=True),
    ),
    model=st.sampled_from([ESPEAK, FEW]),
)
async def test_any_name_is_found_or_refused_as_the_router_would(client: VoiceClient, name: str, model: str) -> None:
    shown = client.engine.describe(client.engine.models.find(model))
    fit = voice_fit(
        name,
        voices={fold_tag(voice) for voice in shown.voices},
        languages={fold_tag(language) for language in shown.languages},
    )
    try:
        found = find(client, name, model=model)
    except UnknownVoice as error:
        assert fit is VoiceFit.NONE
        assert str(error).partition("the nearest are ")[2].partition(" (List")[0].count(", ") <= 2
    else:
        assert fit is not VoiceFit.NONE
        assert find(client, found, model=model) == found if found else True


async def test_a_voice_that_cannot_read_the_language_is_refused(client: VoiceClient) -> None:
    error = await refusal(client.speak(controlled("కాకి.", voice="fr", language="te")))
    assert error.violations[0].field == "controls.voice"
    assert "speaks fr-FR and fr, not 'te'" in error.message
    # It speaks what it can read, with an accent.
    accented = await client.speak(controlled("Hello.", voice="te", language="en_us"))
    assert accented.audio != (await client.speak(controlled("Hello.", language="en-US"))).audio
    error = await refusal(client.speak(controlled("కాకి.", voice="en")))
    assert error.violations[0].field == "text"


async def test_a_language_under_another_name_is_spoken(client: VoiceClient) -> None:
    spoken = [await client.speak(controlled("కాకి.", language=tag)) for tag in ("te", "TEL_in")]
    assert spoken[0].audio == spoken[1].audio
    error = await refusal(client.speak(controlled("x", language="tlh")))
    assert error.violations[0].field == "controls.language"


async def test_a_part_in_another_language_is_refused_before_anything_is_spoken(client: VoiceClient) -> None:
    UTTERANCES.clear()
    error = await refusal(client.speak(controlled("One. Two. The word కాకి means crow."), models=[FEW]))
    assert (error.reason, error.violations[0].field) == (Reason.INVALID_REQUEST, "text")
    assert "has a part in 'te', which is not supported by 'few'; it speaks en, es" in error.message
    assert not UTTERANCES


async def test_documents_name_voices_likewise(client: VoiceClient) -> None:
    UTTERANCES.clear()
    document = (
        '<speak>One. <voice name="EN-gb">Two.</voice> <voice xml:lang="es_MX">Tres.</voice> '
        '<voice name="narrator">Four.</voice> <voice name="alloy" xml:lang="es">Cinco.</voice></speak>'
    )
    await client.speak(SynthesizeRequest(ssml=document, audio=PCM), models=[FEW])
    assert [(said.voice, said.language) for said in UTTERANCES] == [
        ("", "en"),
        ("Joe_Medium", "en-US"),
        ("", "es-MX"),
        ("Joe_Medium", "en-US"),
        ("", "es"),
    ]


@pytest.mark.parametrize(
    ("voice", "hints"),
    [
        ('name="nobody"', ["line 1, column 8: <voice>: 'espeak-ng' has no voice 'nobody'"]),
        ('name="voc_aaaaaaaaaaaaaaaa"', ["there is no voice 'voc_aaaaaaaaaaaaaaaa'"]),
        ('name="fr" xml:lang="te"', ["'fr-fr' does not speak 'te'"]),
        ('gender="male"', ["<voice> needs the attribute 'name'"]),
    ],
)
async def test_documents_with_other_voices_are_refused(client: VoiceClient, voice: str, hints: list[str]) -> None:
    error = await refusal(client.speak(SynthesizeRequest(ssml=f"<speak><voice {voice}>x</voice></speak>", audio=PCM)))
    assert (error.reason, error.violations[0].field) == (Reason.INVALID_REQUEST, "ssml")
    for hint in hints:
        assert hint in error.message


async def test_a_language_that_the_voice_cannot_read_is_left_to_the_models_own(client: VoiceClient) -> None:
    document = '<speak><voice name="fr">Un. <lang xml:lang="te">కాకి.</lang></voice></speak>'
    own = '<speak><voice name="fr">Un.</voice> <voice xml:lang="te">కాకి.</voice></speak>'
    spoken = [await client.speak(SynthesizeRequest(ssml=ssml, audio=PCM)) for ssml in (document, own)]
    assert spoken[0].audio == spoken[1].audio


async def test_conversations_name_voices_likewise(client: VoiceClient) -> None:
    async def audio(voice: str) -> bytes:
        async def requests() -> AsyncIterator[ConverseRequest]:
            yield ConverseRequest(config=ConverseConfig(controls=SpeechControls(voice=voice)))
            yield ConverseRequest(text="One two.")

        call = client.stub.Converse(requests(), metadata=client.metadata("Converse"), timeout=60)
        return b"".join([response.audio async for response in call])

    assert await audio("en_IN") == await audio("en-gb") != await audio("en-us")
    error = await refusal(audio("tlh"))
    assert error.violations[0].field == "controls.voice"


async def test_openais_clients_name_voices_likewise(client: VoiceClient) -> None:
    async def audio(voice: Any) -> bytes:
        fields = {"model": ESPEAK, "input": "One two.", "voice": voice, "response_format": "pcm"}
        metadata = client.metadata(f"{OPENAI}/CreateSpeech")
        call = client.openai.CreateSpeech(
            httpbody_pb2.HttpBody(data=orjson.dumps(fields)), metadata=metadata, timeout=60
        )
        return b"".join([piece.data async for piece in call])

    assert await audio("te-IN") == await audio({"id": "te"}) == await audio({"id": "TE_in"})
    metadata = client.metadata(f"{OPENAI}/ListVoices", models=[])
    body = await client.openai.ListVoices(audio_pb2.ListVoicesRequest(language="te_IN"), metadata=metadata, timeout=60)
    assert "te" in [voice["id"] for voice in json.loads(body.data)["data"]]


async def test_the_registry_has_names_and_languages(client: VoiceClient) -> None:
    shown = {model: client.engine.describe(client.engine.models.find(model)) for model in (ESPEAK, FEW, "reading")}
    espeak = shown[ESPEAK]
    assert {"en-us", "te", "alloy", "+f3"} <= set(espeak.voices)
    assert 200 < len(espeak.voices) == len(set(espeak.voices)) < 300
    assert not [voice for voice in espeak.voices if voice.find("+") > 0]
    assert {"en", "te", "zh", "no"} <= set(espeak.languages)
    assert not [language for language in espeak.languages if "-" in language]
    assert list(shown[FEW].voices) == ["Joe_Medium", "lola", *OPENAI_VOICES, "narrator"]
    assert list(shown[FEW].languages) == ["en", "es"]
    # What the catalog declares comes first.
    assert list(shown["reading"].languages) == ["te"]
    recogniser = client.engine.describe(client.engine.models.find("pocketsphinx"))
    assert (list(recogniser.languages), list(recogniser.voices)) == (["en"], [])
