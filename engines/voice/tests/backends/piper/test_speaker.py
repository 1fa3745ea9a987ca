"""Piper's speech: voices, languages, prosody, loudness, spelling."""

from __future__ import annotations

from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enginehouse.engines.voice.audio.measure import clipped, loudness_lufs
from enginehouse.engines.voice.backends.base import ClonedVoice, Prosody
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.piper.voices import piper
from engines.voice.tests.backends.speech import fundamental, loudness, said, semitones, utterance

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "Please call me back tomorrow morning."
LONG = (
    "One by one it dropped pebbles into the jug, until the water rose so high that the clever crow could drink as "
    "much as it wanted, while the farmer, who had seen it all, laughed out loud."
)


async def refused(speaker: Any, field: str, **changes: Any) -> str:
    with pytest.raises(ServiceError) as raised:
        await said(speaker, TEXT, **changes)
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in raised.value.violations] == [field]
    return raised.value.message


async def test_it_is_one_english_voice(speaker: Any) -> None:
    [voice] = speaker.info.voices
    assert (voice.voice_id, voice.name) == ("en_us-joe-medium", "Joe (English, United States)")
    assert list(voice.languages) == ["en-US", "en"]
    assert list(speaker.info.languages) == ["en"]
    assert speaker.info.sample_rate == 22_050


async def test_names_of_the_voice(speaker: Any) -> None:
    plain = await said(speaker, TEXT)
    for name in ("en_us-joe-medium", "EN_US-Joe-Medium"):
        assert (await said(speaker, TEXT, voice=name)).tobytes() == plain.tobytes(), name
    assert set(speaker.info.aliases.values()) == {"en_us-joe-medium"}
    await refused(speaker, "controls.voice", voice="nobody")


async def test_another_language_is_refused(speaker: Any) -> None:
    assert len(await said(speaker, "Hello.", language="en-GB"))
    assert "speaks only en-US" in await refused(speaker, "controls.language", language="te")


async def test_cloned_voices_are_refused(speaker: Any, tmp_path: Path) -> None:
    clone = ClonedVoice(voice_id="voc_1", language="en", sample=tmp_path / "sample.wav")
    assert not speaker.info.clones
    await refused(speaker, "controls.voice", voice="voc_1", clone=clone)


async def test_speech_varies_unless_its_noise_is_off() -> None:
    async with piper() as speaker:
        first, second = await said(speaker, TEXT), await said(speaker, TEXT)
    assert first.tobytes() != second.tobytes()


async def test_speed_divides_the_length_and_keeps_the_pitch(speaker: Any) -> None:
    speeds = (0.25, 0.5, 1, 1.5, 2, 4)
    audio = {speed: await said(speaker, TEXT, prosody=Prosody(speed=speed)) for speed in speeds}
    for speed, samples in audio.items():
        assert len(samples) * speed == pytest.approx(len(audio[1]), rel=0.12), speed
    for speed in (0.5, 2):
        assert abs(semitones(fundamental(audio[speed], 22_050), fundamental(audio[1], 22_050))) < 2.5, speed


async def test_pitch_moves_by_semitones_and_keeps_the_length(speaker: Any) -> None:
    plain = await said(speaker, TEXT)
    for pitch in (-4, 4, 8, 12):
        samples = await said(speaker, TEXT, prosody=Prosody(pitch=pitch))
        moved = semitones(fundamental(samples, 22_050), fundamental(plain, 22_050))
        assert moved == pytest.approx(pitch, abs=2), pitch
        assert len(samples) == pytest.approx(len(plain), rel=0.12), pitch


async def test_emphasis_is_louder_and_slower(speaker: Any) -> None:
    audio = [await said(speaker, TEXT, prosody=Prosody(emphasis=emphasis)) for emphasis in (-1, 0, 1, 2)]
    for weaker, stronger in pairwise(audio):
        assert loudness(stronger) > 1.05 * loudness(weaker)
    assert len(audio[-1]) > 1.02 * len(audio[0])


async def test_its_loudness_is_the_catalogs() -> None:
    for wanted in (-21, -27):
        async with piper(loudness_lufs=wanted) as speaker:
            samples = np.concatenate([await said(speaker, TEXT), await said(speaker, LONG)])
            assert loudness_lufs(samples, speaker.info.sample_rate) == pytest.approx(wanted, abs=1.5)
            assert clipped(samples) == 0


async def test_the_first_clause_comes_before_the_next_is_made(speaker: Any) -> None:
    async with aclosing(speaker.speak(utterance(LONG))) as audio:
        pieces = [piece async for piece in audio]
    assert len(pieces) > 1
    assert len(pieces[0]) < sum(map(len, pieces)) / 3
    for before, after in pairwise(pieces):
        # Each ends and begins in near silence, so that they join without a click.
        assert max(abs(int(before[-1])), abs(int(after[0]))) < 64


async def test_spelling_says_each_letter(speaker: Any) -> None:
    word, letters, longer = [
        await said(speaker, text, spell=spell) for text, spell in (("NASA", False), ("NASA", True), ("NASANASA", True))
    ]
    assert len(letters) > 1.5 * len(word)
    assert len(longer) > 1.5 * len(letters)


async def test_brackets_are_no_commands(speaker: Any) -> None:
    # Piper reads what is between two brackets as phonemes: those of "hello", not its letters.
    bracketed, plain = await said(speaker, "[[həlˈoʊ]]"), await said(speaker, "həlˈoʊ")
    assert bracketed.tobytes() == plain.tobytes()


async def test_what_cannot_be_spoken_is_silent(speaker: Any) -> None:
    assert len(await said(speaker, "...")) == 0
