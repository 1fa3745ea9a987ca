"""Live recognition by Whisper."""

from __future__ import annotations

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import RecognitionOptions
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests_torch.models import load_whisper
from engines.voice.tests_torch.sounds import RATE, silence, voiced
from engines.voice.tests_torch.tiny_whisper import ENGLISH, GERMAN, SAID

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


async def spoken(utterance, sound, *, interim=True, step=RATE // 10):
    told = [
        (begin + step, await utterance.feed(sound[begin : begin + step], interim=interim))
        for begin in range(0, len(sound), step)
    ]
    return [(end / RATE, segment) for end, segment in told if segment]


async def test_interim_results_come_before_the_end(recogniser):
    async with recogniser.live(RecognitionOptions()) as utterance:
        told = await spoken(utterance, voiced(GERMAN, 4))
        final = await utterance.finish()
    assert told
    first_s, first = told[0]
    assert 1 <= first_s < 4
    assert first.text == SAID["de"]
    assert first.end_ms <= first_s * 1000
    assert (final.text, final.language) == (SAID["de"], "de")
    assert final.end_ms <= 4000
    # Only one interim result, for nothing changed.
    assert len({segment.text for _, segment in told}) == len(told)


async def test_interim_results_come_only_on_request(recogniser):
    async with recogniser.live(RecognitionOptions(word_times=True)) as utterance:
        assert await spoken(utterance, voiced(ENGLISH, 2), interim=False) == []
        final = await utterance.finish()
    assert [word.word for word in final.words] == SAID["en"].split()


async def test_utterances_longer_than_a_window_are_heard_whole(recogniser):
    sound = np.concatenate((voiced(ENGLISH, 22), silence(1), voiced(ENGLISH, 12)))
    async with recogniser.live(RecognitionOptions(word_times=True)) as utterance:
        told = await spoken(utterance, sound, step=RATE * 5)
        final = await utterance.finish()
    assert final.text == f"{SAID['en']} {SAID['en']}"
    assert told[-1][1].text == final.text
    assert len(final.words) == 4
    times = [time for word in final.words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert times[-1] <= final.end_ms <= 35_000


async def test_an_utterance_may_be_dropped_or_empty(whispers, recogniser):
    async with recogniser.live(RecognitionOptions()) as utterance:
        await spoken(utterance, voiced(ENGLISH, 1))
    async with recogniser.live(RecognitionOptions()) as utterance:
        assert await utterance.finish() is None
    strict = await load_whisper(whispers, "openai-whisper")
    async with strict.live(RecognitionOptions()) as utterance:
        assert await spoken(utterance, silence(3)) == []
        assert await utterance.finish() is None
    await strict.close()


async def test_unsupported_options_are_refused_at_once(recogniser):
    with pytest.raises(ServiceError) as raised:
        async with recogniser.live(RecognitionOptions(language="xx")):
            pytest.fail("it knows no such language")
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert raised.value.violations[0].field == "options.language"
