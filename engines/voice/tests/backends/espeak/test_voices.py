"""The voices of espeak-ng, and the choice of one for a request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.base import Gender, Prosody
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.voice_names import OPENAI_VOICES
from engines.voice.tests.backends.speech import loudness, said, speaking

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Letters of three scripts, of which every language reads one.
SYLLABLES = "mama, мама, ᏣᎳᎩ"


async def refused(speaker: Any, field: str, **utterance: Any) -> str:
    with pytest.raises(ServiceError) as raised:
        await said(speaker, "One.", **utterance)
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in raised.value.violations] == [field]
    return raised.value.message


async def test_thousands_of_voices_each_once_and_in_order(speaker: Any) -> None:
    ids = [voice.voice_id for voice in speaker.info.voices]
    assert len(ids) == len(speaker.info.voices) > 10_000
    assert ids == sorted(set(ids))
    assert {"te", "en-us", "en-us+f3", "te+whisper", "cmn", "yue-latn-jyutping+mr-serious"} <= set(ids)


async def test_the_list_is_a_sequence(speaker: Any) -> None:
    voices = speaker.info.voices
    assert voices[-1] == voices[len(voices) - 1]
    assert list(voices[3:9:2]) == [voices[3], voices[5], voices[7]]
    with pytest.raises(IndexError):
        voices[len(voices)]


async def test_voice_fields(speaker: Any) -> None:
    voices = {voice.voice_id: voice for voice in speaker.info.voices}
    plain, woman, whisper = voices["en-us"], voices["en-us+f3"], voices["te+whisperf"]
    assert (plain.name, plain.gender, plain.style) == ("English (America)", Gender.MALE, "")
    assert list(plain.languages) == ["en-US", "en"]
    assert (woman.gender, woman.style) == (Gender.FEMALE, "")
    assert (whisper.gender, whisper.style, list(whisper.languages)) == (Gender.FEMALE, "whisper", ["te"])
    assert voices["cmn-latn-pinyin"].languages[0] == "cmn-Latn-pinyin"
    assert len({voice.name for voice in voices.values()}) == len(voices)


async def test_all_languages_speak(speaker: Any) -> None:
    ids = [voice.voice_id for voice in speaker.info.voices if "+" not in voice.voice_id]
    assert len(ids) > 130
    audio = await asyncio.gather(*(said(speaker, SYLLABLES, voice=voice) for voice in ids))
    assert [voice for voice, samples in zip(ids, audio, strict=True) if loudness(samples) < 200] == []


async def test_all_variants_sound_different(speaker: Any) -> None:
    ids = [voice.voice_id for voice in speaker.info.voices if voice.voice_id.startswith("en-us+")]
    assert len(ids) > 100
    audio = await asyncio.gather(*(said(speaker, "One two.", voice=voice) for voice in ids))
    assert [voice for voice, samples in zip(ids, audio, strict=True) if loudness(samples) < 200] == []
    assert len({samples.tobytes() for samples in audio}) == len(ids)


async def test_telugu_speaks(speaker: Any) -> None:
    samples = await said(speaker, "నమస్తే, మీరు ఎలా ఉన్నారు?", language="te")
    assert 1 < len(samples) / speaker.info.sample_rate < 4
    assert loudness(samples) > 500


@pytest.mark.parametrize(
    ("language", "voice"),
    [
        ("en", "en-us"),
        ("en-US", "en-us"),
        ("en-IN", "en-gb"),
        ("en-GB-oxendict", "en-gb"),
        ("en_JM", "en-029"),
        ("te-IN", "te"),
        ("fr", "fr-fr"),
        ("fr-CA", "fr-fr"),
        ("es-AR", "es-419"),
        ("pt-BR", "pt-br"),
        ("zh-Hans-CN", "cmn"),
        ("zh-HK", "yue"),
        ("no", "nb"),
        ("nn", "nb"),
        ("chr", "chr-us-qaaa-x-west"),
    ],
)
async def test_a_language_takes_its_own_voice_or_the_nearest(speaker: Any, language: str, voice: str) -> None:
    by_language, by_voice = await asyncio.gather(
        said(speaker, SYLLABLES, language=language), said(speaker, SYLLABLES, voice=voice)
    )
    assert len(by_voice)
    assert by_language.tobytes() == by_voice.tobytes()


async def test_every_listed_language_has_a_voice(speaker: Any) -> None:
    assert {"en", "te", "hi", "zh", "cmn", "no", "nb"} <= set(speaker.info.languages)
    assert list(speaker.info.languages) == sorted(set(speaker.info.languages))
    tags = [tag for voice in speaker.info.voices if "+" not in voice.voice_id for tag in voice.languages]
    assert set(speaker.info.languages) == {tag.partition("-")[0] for tag in tags}


async def test_names_match_in_any_case(speaker: Any) -> None:
    capital, plain = await asyncio.gather(
        said(speaker, "One.", voice="EN-US+F3"), said(speaker, "One.", voice="en-us+f3")
    )
    assert capital.tobytes() == plain.tobytes()


async def test_a_variant_alone_speaks_the_utterances_language(speaker: Any) -> None:
    text = "నమస్తే"
    alone, whole, english = await asyncio.gather(
        said(speaker, text, language="te", voice="+f3"),
        said(speaker, text, voice="te+f3"),
        said(speaker, text, language="en", voice="+f3"),
    )
    assert alone.tobytes() == whole.tobytes() != english.tobytes()


async def test_aliases_are_the_options_and_name_voices_that_it_has(speaker: Any) -> None:
    names = speaker.info.aliases
    assert set(names) == set(OPENAI_VOICES)
    assert {voice.removeprefix("+") for voice in names.values()} <= set(speaker.info.variants)
    async with speaking(workers=1, aliases={"reader": "te+m3"}) as other:
        assert other.info.aliases == {"reader": "te+m3"}
    with pytest.raises(ServiceError, match=r"options\.aliases\.reader: espeak-ng has no voice 'te\+m33'"):
        async with speaking(workers=1, aliases={"reader": "te+m33"}):
            pass


@pytest.mark.parametrize(
    ("voice", "hints"),
    [
        ("en-uss", ["'en-uss'", "'en-us'"]),
        ("en-us+f33", ["'en-us+f33'", "'en-us+f3'"]),
        ("en_us", ["'en-us'"]),
        ("+wisper", ["'+whisper'"]),
        ("en-us+", ["'en-us+'"]),
        ("../../voices/!v/f3", ["espeak-ng has no voice"]),
    ],
)
async def test_an_unknown_voice_is_refused_with_the_nearest(speaker: Any, voice: str, hints: list[str]) -> None:
    message = await refused(speaker, "controls.voice", voice=voice)
    assert "enginehouse voices" in message
    for hint in hints:
        assert hint in message


async def test_an_unknown_language_is_refused_with_the_nearest(speaker: Any) -> None:
    message = await refused(speaker, "controls.language", language="enn-US")
    assert "'enn-US'" in message
    assert "en-US" in message
    await refused(speaker, "controls.language", language="tlh")
    await refused(speaker, "controls.language", language="")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(voice=st.text(max_size=12), language=st.text(max_size=12))
async def test_any_language_is_found_or_refused(speaker: Any, voice: str, language: str) -> None:
    try:
        await said(speaker, "One.", voice=voice, language=language)
    except ServiceError as error:
        assert error.reason is Reason.INVALID_REQUEST
        assert error.violations[0].field in {"controls.voice", "controls.language"}


async def test_prosody_that_it_follows(speaker: Any) -> None:
    assert speaker.info.prosody == set(Prosody.__slots__)
