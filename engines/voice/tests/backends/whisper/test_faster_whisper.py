"""faster-whisper with Whisper base, as in a fresh installation: what Piper says, silence, noise, another language."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from enginehouse.engines.voice.audio import Resampler
from enginehouse.engines.voice.backends.base import RecognitionOptions, Samples
from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.recordings import RATE, WORDS, heard, silence, text
from engines.voice.tests.backends.speech import said, speaking
from engines.voice.tests.backends.whisper.whispers import (
    SENTENCES,
    packages,
    read_aloud,
    whisper,
    whisper_model,
    word_error_rate,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

DETECT = RecognitionOptions()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recogniser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    async with whisper(tmp_path_factory.mktemp("models")) as recogniser:
        yield recogniser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story() -> Samples:
    return await read_aloud(*SENTENCES)


async def test_it_writes_down_what_piper_says(recogniser: Any, story: Samples) -> None:
    segments = await heard(recogniser, story, DETECT)
    assert word_error_rate(text(segments), " ".join(SENTENCES)) < 0.1
    assert {segment.language for segment in segments} == {"en"}
    times = [time for segment in segments for time in (segment.start_ms, segment.end_ms)]
    assert times == sorted(times)
    assert times[-1] <= len(story) * 1000 / RATE


async def test_an_utterance_is_written_down_while_it_is_spoken(recogniser: Any, story: Samples) -> None:
    async with recogniser.live(WORDS) as utterance:
        interim = [await utterance.feed(story[at : at + RATE], interim=True) for at in range(0, 6 * RATE, RATE)]
        final = await utterance.finish()
    assert any(segment is not None for segment in interim)
    assert word_error_rate(final.text, " ".join(SENTENCES[:2])) < 0.4
    times = [time for word in final.words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert 3000 < times[-1] <= 6000


async def test_without_speech_nothing_is_written(recogniser: Any) -> None:
    random = np.random.default_rng(1)
    hum = (np.sin(np.arange(20 * RATE) * 2 * np.pi * 100 / RATE) * 3000).astype(np.int16)
    for sound in (
        silence(40),
        (random.standard_normal(20 * RATE) * 8).astype(np.int16),
        (random.standard_normal(20 * RATE) * 800).astype(np.int16),
        hum,
    ):
        assert await heard(recogniser, sound, DETECT) == []


async def test_silence_after_speech_adds_nothing(recogniser: Any, story: Samples) -> None:
    first = story[: 3 * RATE]
    segments = await heard(recogniser, np.concatenate([first, silence(25)]), DETECT)
    assert 5 <= len(text(segments).split()) <= 13


async def test_what_it_does_not_understand_ends_soon(recogniser: Any) -> None:
    async with speaking(workers=1) as speaker:
        resampler = Resampler(source_rate=speaker.info.sample_rate, rate=RATE)
        telugu = resampler.feed(await said(speaker, "నమస్తే, మీరు ఎలా ఉన్నారు?", language="te"))
    segments = await heard(recogniser, telugu, DETECT)
    # A second of speech has some ten syllables: what it repeats for ever is cut off.
    assert len(text(segments)) < 60 * len(telugu) / RATE


async def test_its_properties_are_known_without_loading_it(tmp_path: Path, recogniser: Any) -> None:
    info = await FasterWhisperBackend(models_dir=tmp_path, packages=packages(tmp_path)).inspect(whisper_model())
    assert info.recogniser == recogniser.info
    assert {"en", "te"} <= set(recogniser.info.languages)
    assert len(recogniser.info.languages) == 99
    assert recogniser.info.translates
    assert 100 < info.memory_bytes / 2**20 < 500


async def test_an_unknown_language_is_refused(recogniser: Any, story: Samples) -> None:
    with pytest.raises(ServiceError) as raised:
        await heard(recogniser, story, RecognitionOptions(language="tlh"))
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert raised.value.violations[0].field == "options.language"
