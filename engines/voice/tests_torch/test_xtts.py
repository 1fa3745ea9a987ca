"""XTTS in process, with a tiny model of random weights: this tests the code path, not the speech."""

from __future__ import annotations

import asyncio
import wave
from contextlib import aclosing

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import ClonedVoice, Prosody, Utterance
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests_torch.models import load_xtts
from engines.voice.tests_torch.sounds import voiced
from engines.voice.tests_torch.tiny_xtts import MAX_CODES

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

# A code is 1,024 samples at 22,050 a second; the vocoder makes 256 samples of a frame.
BREATH = int(int(MAX_CODES * 4) * 24_000 / 22_050) * 256


def saying(text="Hello there, good world.", *, language="en-GB", voice="", **fields):
    return Utterance(text=text, language=language, voice=voice, **fields)


async def chunks(speaker, utterance):
    return [chunk async for chunk in speaker.speak(utterance)]


async def said(speaker, utterance):
    return np.concatenate(await chunks(speaker, utterance))


async def refused(speaker, utterance) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await chunks(speaker, utterance)
    return raised.value


def cloned(path, sound, *, rate=24_000, channels=1, voice_id="voc_1"):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(sound.tobytes())
    return ClonedVoice(voice_id=voice_id, language="en", sample=path)


async def test_audio_comes_while_it_is_made(speaker):
    made = await chunks(speaker, saying())
    assert len(made) > 2
    assert all(chunk.dtype == np.int16 and chunk.ndim == 1 and len(chunk) for chunk in made)
    assert len(made[0]) < BREATH / 5
    whole = np.concatenate(made)
    assert len(whole) == BREATH
    assert 100 < np.abs(whole.astype(int)).max() <= 32_767


async def test_equal_utterances_sound_the_same_each_time(speaker):
    first, second, other = [await said(speaker, saying(text)) for text in ("One.", "One.", "Two.")]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


async def test_voices_differ_and_the_first_is_the_models_own(speaker):
    assert [(voice.voice_id, voice.name) for voice in speaker.info.voices] == [
        ("claribel-dervla", "Claribel Dervla"),
        ("damien-black", "Damien Black"),
    ]
    own, first, second = [await said(speaker, saying("One.", voice=v)) for v in ("", "claribel-dervla", "damien-black")]
    assert np.array_equal(own, first)
    assert not np.array_equal(first, second)


async def test_cloned_voices_are_remembered(speaker, tmp_path):
    clone = cloned(tmp_path / "sample.wav", voiced(150, 3, rate=24_000))
    first = await said(speaker, saying("One.", voice="voc_1", clone=clone))
    (tmp_path / "sample.wav").unlink()
    again = await said(speaker, saying("One.", voice="voc_1", clone=clone))
    assert len(first) == BREATH
    assert np.array_equal(first, again)
    assert not np.array_equal(first, await said(speaker, saying("One.")))


@pytest.mark.parametrize(
    ("sound", "form", "told"),
    [
        (None, {}, "cannot be read"),
        (voiced(150, 0.3, rate=24_000), {}, "0.30 s"),
        (voiced(150, 3, rate=24_000), {"channels": 2}, "2 channels"),
    ],
)
async def test_invalid_voice_samples(speaker, tmp_path, sound, form, told):
    path = tmp_path / "bad.wav"
    path.write_bytes(b"RIFF")
    clone = ClonedVoice(voice_id="bad", language="en", sample=path)
    if sound is not None:
        clone = cloned(path, sound, voice_id="bad", **form)
    error = await refused(speaker, saying(voice="bad", clone=clone))
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == "controls.voice"
    assert told in error.message


@pytest.mark.parametrize(
    ("utterance", "field", "told"),
    [
        (saying(language="te"), "controls.language", "'te'"),
        (saying(language="ja-JP"), "controls.language", "pip install 'coqui-tts[ja]'"),
        (saying(voice="claribel-dervlo"), "controls.voice", "did you mean 'claribel-dervla'?"),
    ],
)
async def test_unsupported_utterances(speaker, utterance, field, told):
    error = await refused(speaker, utterance)
    assert error.reason is Reason.INVALID_REQUEST
    assert error.violations[0].field == field
    assert told in error.message


async def test_languages_are_those_that_can_be_read_here(speaker):
    assert len(speaker.info.languages) == 16
    assert {"en", "zh", "hi"} <= set(speaker.info.languages)
    assert not {"ja", "te"} & set(speaker.info.languages)
    assert len(await said(speaker, saying("你好", language="zh-CN"))) == BREATH


@pytest.mark.parametrize("speed", [0.5, 2.0])
async def test_speed_is_its_own(speaker, speed):
    assert speaker.info.prosody == {"speed"}
    whole = await said(speaker, saying("One.", prosody=Prosody(speed=speed)))
    # To within a code, of 46 ms.
    assert abs(len(whole) - BREATH / speed) <= 1200


async def test_long_texts_are_spoken_part_by_part(speaker):
    chinese = "你好吗朋友，" * 25
    assert len(await said(speaker, saying(chinese, language="zh"))) == 2 * BREATH
    # Few characters, yet more tokens than the model accepts.
    assert len(await said(speaker, saying("@" * 150))) == 2 * BREATH


async def test_spelling_is_said_letter_by_letter(speaker):
    spelled, whole, letters = [
        await said(speaker, utterance) for utterance in (saying("ab", spell=True), saying("ab"), saying("a, b"))
    ]
    assert np.array_equal(spelled, letters)
    assert not np.array_equal(spelled, whole)


async def test_utterances_at_once_wait_for_each_other(speaker):
    alone = [await said(speaker, saying(text)) for text in ("One.", "Two.")]
    together = await asyncio.gather(*(said(speaker, saying(text)) for text in ("One.", "Two.")))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


async def test_closing_ends_the_work(xtts_folder):
    loaded = await load_xtts(xtts_folder)
    gpt = loaded.speaker._model._model.gpt.gpt_inference
    codes = []
    hook = gpt.register_forward_hook(lambda *_: codes.append(1))
    async with aclosing(loaded.speaker.speak(saying("One. " * 200))) as sounds:
        await anext(sounds)
    # The next one begins only after the first has ended.
    before = len(codes)
    assert len(await said(loaded.speaker, saying("Two."))) == BREATH
    # The first one had five times as many to generate; at most one window was made after its reader left.
    assert len(codes) - before <= MAX_CODES + 45
    hook.remove()
    sounds = loaded.speaker.speak(saying("One. " * 200))
    await anext(sounds)
    waiting = asyncio.ensure_future(said(loaded.speaker, saying("Two.")))
    await asyncio.sleep(0)
    await loaded.close()
    for ended in (waiting, chunks_of(sounds), chunks(loaded.speaker, saying())):
        with pytest.raises(ServiceError) as raised:
            await ended
        assert raised.value.reason is Reason.ENGINE_DRAINING


async def chunks_of(sounds):
    return [chunk async for chunk in sounds]
