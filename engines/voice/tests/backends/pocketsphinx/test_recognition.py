"""Recognition by PocketSphinx: speech, silence and noise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import RecognitionOptions, Samples
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.recordings import COUNT, DOOR, RATE, WORDS, heard, pieces, right, silence, text

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_it_understands_english(recogniser: Any, count: Samples, door: Samples) -> None:
    assert right(text(await heard(recogniser, count)), COUNT) >= 3
    assert right(text(await heard(recogniser, door)), DOOR) >= 2


async def test_words_have_their_times(recogniser: Any, count: Samples) -> None:
    [segment] = await heard(recogniser, count)
    assert segment.text == " ".join(word.word for word in segment.words)
    assert (segment.start_ms, segment.end_ms) == (segment.words[0].start_ms, segment.words[-1].end_ms)
    assert 200 < segment.start_ms < 600
    at = 0
    for word in segment.words:
        assert at <= word.start_ms < word.end_ms <= len(count) * 1000 // RATE
        assert 0 <= word.confidence <= 1
        at = word.end_ms
    sure = [word.confidence for word in segment.words]
    assert min(sure) <= segment.confidence <= max(sure)
    assert segment.language == "en"


async def test_words_come_only_on_request(recogniser: Any, door: Samples) -> None:
    [segment] = await heard(recogniser, door, RecognitionOptions())
    assert list(segment.words) == []
    assert segment.text


async def test_phrases_come_one_by_one_at_their_times(recogniser: Any, count: Samples, door: Samples) -> None:
    first, second = await heard(recogniser, np.concatenate([count, silence(2), door]))
    [alone] = await heard(recogniser, door)
    later = len(count) * 1000 // RATE + 2000
    assert first.end_ms < later
    # Phrases begin on the detector's frames of 30 ms.
    assert second.start_ms == pytest.approx(later + alone.start_ms, abs=100)
    assert right(second.text, DOOR) >= 2


async def test_the_result_does_not_depend_on_the_cuts(recogniser: Any, count: Samples) -> None:
    assert await heard(recogniser, count, size=777) == await heard(recogniser, count, size=len(count))


@pytest.mark.parametrize("gain", [0.05, 1.2])
async def test_loudness_does_not_matter(recogniser: Any, count: Samples, gain: float) -> None:
    samples = np.clip(count * gain, -32768, 32767).astype(np.int16)
    assert right(text(await heard(recogniser, samples)), COUNT) >= 3


async def test_it_stops_with_its_reader(recogniser: Any, door: Samples) -> None:
    taken = 0

    async def recording() -> AsyncIterator[Samples]:
        nonlocal taken
        async for piece in pieces(np.concatenate([door, silence(60)])):
            taken += len(piece)
            yield piece

    async with aclosing(recogniser.transcribe(recording(), WORDS)) as segments:
        assert right((await anext(segments)).text, DOOR) >= 2
    assert taken < len(door) + 5 * RATE
    assert await heard(recogniser, door)


@pytest.mark.parametrize("samples", [np.empty(0, np.int16), np.zeros(3, np.int16), silence(5)])
async def test_silence_has_no_segments(recogniser: Any, samples: Samples) -> None:
    assert await heard(recogniser, samples) == []


async def test_hiss_is_no_speech(recogniser: Any) -> None:
    assert await heard(recogniser, np.random.default_rng(1).integers(-30, 30, 5 * RATE).astype(np.int16)) == []


async def test_noise_and_clipping_break_nothing(recogniser: Any, door: Samples) -> None:
    before = await heard(recogniser, door)
    noise = np.random.default_rng(2).integers(-32768, 32768, RATE).astype(np.int16)
    square = np.where(np.arange(RATE) // 50 % 2, 32767, -32768).astype(np.int16)
    for samples in (noise, square):
        for segment in await heard(recogniser, samples):
            assert 0 <= segment.start_ms < segment.end_ms <= 1000
    assert await heard(recogniser, door) == before


@pytest.mark.parametrize("language", ["", "EN", "en-GB", "en_US"])
async def test_english_by_any_name(recogniser: Any, language: str) -> None:
    assert await heard(recogniser, silence(0.1), RecognitionOptions(language=language)) == []


@pytest.mark.parametrize("language", ["te", "de-DE", "eng"])
async def test_other_languages_are_refused(recogniser: Any, language: str) -> None:
    options = RecognitionOptions(language=language)
    for attempt in (heard(recogniser, silence(1), options), recogniser.live(options).__aenter__()):
        with pytest.raises(ServiceError, match="Whisper") as raised:
            await attempt
        assert raised.value.reason is Reason.INVALID_REQUEST
        assert [violation.field for violation in raised.value.violations] == ["options.language"]
        assert repr(language) in raised.value.message
    assert list(recogniser.info.languages) == ["en"]


async def test_it_does_not_translate(recogniser: Any) -> None:
    assert not recogniser.info.translates
    with pytest.raises(ServiceError, match=r"options\.translate"):
        await heard(recogniser, silence(1), RecognitionOptions(translate=True))
