"""Both Whisper runtimes in process, with a model that knows two sentences: one in a low and one in a high voice."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import RecognitionOptions
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests_torch.models import load_whisper
from engines.voice.tests_torch.sounds import RATE, silence, speech, voiced
from engines.voice.tests_torch.tiny_whisper import ENGLISH, GERMAN, IN_ENGLISH, SAID

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]


async def fed(*sounds):
    for sound in sounds:
        yield sound


async def heard(recogniser, *sounds, **options):
    async with aclosing(recogniser.transcribe(fed(*sounds), RecognitionOptions(**options))) as segments:
        return [segment async for segment in segments]


@pytest.mark.parametrize(("pitch", "language"), [(ENGLISH, "en"), (GERMAN, "de")])
async def test_language_is_detected_and_text_written_down(recogniser, pitch, language):
    [segment] = await heard(recogniser, voiced(pitch, 2))
    assert segment.text == SAID[language]
    assert segment.language == language
    assert 0 <= segment.start_ms < segment.end_ms <= 2000
    assert 0.5 < segment.confidence <= 1
    assert not segment.words


async def test_translation_is_in_english(recogniser):
    assert recogniser.info.translates
    [segment] = await heard(recogniser, voiced(GERMAN, 3), translate=True)
    assert segment.text == IN_ENGLISH["de"]


async def test_a_language_that_is_given_is_not_detected(recogniser):
    [segment] = await heard(recogniser, voiced(ENGLISH, 2), language="de-AT", prompt="Grüße aus Wien")
    assert segment.text == SAID["de"]
    assert segment.language == ""


async def test_words_have_their_times(recogniser):
    sound = voiced(ENGLISH, 2)
    [segment] = await heard(recogniser, sound, word_times=True)
    assert [word.word for word in segment.words] == SAID["en"].split()
    times = [time for word in segment.words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times)
    assert segment.start_ms <= times[0] < times[-1] <= segment.end_ms <= 2000
    assert all(0 <= word.confidence <= 1 for word in segment.words)


async def test_long_recordings_are_heard_in_windows_that_end_in_pauses(recogniser):
    sounds = (voiced(ENGLISH, 22), silence(1), voiced(ENGLISH, 12))
    segments = await heard(recogniser, *sounds)
    assert [segment.text for segment in segments] == [SAID["en"]] * 2
    first, second = segments
    assert first.end_ms <= second.start_ms
    # Half of the pause, and the error of its ends.
    assert 22_000 < second.start_ms < 23_000
    assert second.end_ms <= 35_000
    # The result does not depend on the cuts.
    whole = np.concatenate(sounds)
    ends = np.cumsum(np.random.default_rng(4).integers(1, 40_000, size=100))
    pieces = np.split(whole, [end for end in ends if end < len(whole)])
    assert await heard(recogniser, *pieces) == segments


async def test_recordings_that_are_cut_short(recogniser):
    assert await heard(recogniser) == []
    assert await heard(recogniser, silence(0)) == []
    for samples in (1, 100, 479, 481, 7000):
        for segment in await heard(recogniser, voiced(ENGLISH, 1)[:samples], word_times=True):
            assert 0 <= segment.start_ms <= segment.end_ms <= samples * 1000 // RATE


async def test_it_reads_no_further_ahead_than_it_works(recogniser):
    taken = 0

    async def endless():
        nonlocal taken
        while True:
            taken += 1
            yield voiced(ENGLISH, 1)

    async with aclosing(recogniser.transcribe(endless(), RecognitionOptions())) as segments:
        await anext(segments)
        assert taken <= 30
        await anext(segments)
        assert taken <= 60


async def test_several_recordings_at_once(recogniser):
    found = await asyncio.gather(*(heard(recogniser, voiced(pitch, 2)) for pitch in (ENGLISH, GERMAN, ENGLISH)))
    assert [segment.text for [segment] in found] == [SAID["en"], SAID["de"], SAID["en"]]


async def test_unknown_languages(recogniser):
    assert len(recogniser.info.languages) == 99
    assert {"te", "jv", "en"} <= set(recogniser.info.languages)
    with pytest.raises(ServiceError) as raised:
        await heard(recogniser, voiced(ENGLISH, 1), language="tlh")
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert raised.value.violations[0].field == "options.language"
    assert "'tlh'" in raised.value.message


async def test_errors_of_the_audio_end_it(recogniser):
    async def broken():
        yield voiced(ENGLISH, 1)
        raise ServiceError(Reason.INVALID_REQUEST, "the audio broke off")

    with pytest.raises(ServiceError, match="broke off"):
        async for _ in recogniser.transcribe(broken(), RecognitionOptions()):
            pytest.fail("nothing was whole yet")


@pytest.mark.parametrize("runtime", ["faster-whisper", "openai-whisper"])
async def test_closing_ends_the_work(whispers, runtime):
    recogniser = await load_whisper(whispers, runtime, vad=False)
    async with aclosing(recogniser.transcribe(fed(voiced(ENGLISH, 65)), RecognitionOptions())) as segments:
        await anext(segments)
    [segment] = await heard(recogniser, voiced(GERMAN, 2))
    assert segment.text == SAID["de"]
    left = recogniser.transcribe(fed(voiced(ENGLISH, 65)), RecognitionOptions())
    await anext(left)
    await recogniser.close()
    for after in (left, recogniser.transcribe(fed(voiced(ENGLISH, 2)), RecognitionOptions())):
        with pytest.raises(ServiceError) as raised:
            await anext(after)
        assert raised.value.reason is Reason.ENGINE_DRAINING


async def test_work_in_torch_ends_between_two_tokens(whispers):
    recogniser = await load_whisper(whispers, "openai-whisper", vad=False)
    decoder = recogniser._runtime._whisper.decoder
    tokens = []
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def count(*_):
        tokens.append(1)
        loop.call_soon_threadsafe(begun.set)
        # As slow as a large model: the test ends long before the sentence.
        if len(tokens) > 1:
            asyncio.run_coroutine_threadsafe(gone.wait(), loop).result(60)

    gone = asyncio.Event()
    hook = decoder.register_forward_hook(count)
    hearing = asyncio.ensure_future(heard(recogniser, voiced(ENGLISH, 2), language="en"))
    await begun.wait()
    hearing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hearing
    gone.set()
    await recogniser.close()
    hook.remove()
    assert len(tokens) <= 2
    # No hook is left in the model.
    assert not any(module._forward_hooks for module in decoder.modules())


@pytest.mark.parametrize("runtime", ["faster-whisper", "openai-whisper"])
async def test_frames_without_speech_are_skipped(whispers, runtime):
    recogniser = await load_whisper(whispers, runtime, beam_size=1)
    assert await heard(recogniser, silence(40)) == []
    sound = await speech("Good morning. This is a sentence that somebody says.")
    segments = await heard(recogniser, silence(5), sound, silence(5))
    # The model cannot know this sound: it was trained on two other voices.
    assert segments
    # Speech is detected with a margin of less than a second.
    assert 4000 < segments[0].start_ms < 6000
    assert segments[-1].end_ms < 5000 + len(sound) * 1000 / RATE + 1000
    await recogniser.close()


async def test_integer_arithmetic_works(whispers):
    recogniser = await load_whisper(whispers, "faster-whisper", compute_type="int8", slots=2, threads=1, vad=False)
    assert recogniser.info.slots == 2
    found = await asyncio.gather(*(heard(recogniser, voiced(pitch, 2)) for pitch in (ENGLISH, GERMAN)))
    assert [segment.text for [segment] in found] == [SAID["en"], SAID["de"]]
    await recogniser.close()
