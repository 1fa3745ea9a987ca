"""The prosody of espeak-ng: speed, pitch, melody, emphasis, spelling."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import Prosody
from engines.voice.tests.backends.speech import fundamental, heights, loudness, said, seconds, semitones

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Below 0.46 and above 2.3 the audio is stretched; these values are around the limits.
SPEEDS = [0.25, 0.35, 0.45, 0.46, 0.5, 0.75, 1, 1.5, 2, 2.2, 2.3, 2.5, 3, 4]


@pytest.mark.parametrize("voice", ["en-us", "en-us+f3", "en-us+klatt4"])
async def test_speed_divides_the_length(speaker: Any, voice: str) -> None:
    lengths = await asyncio.gather(*(seconds(speaker, voice=voice, prosody=Prosody(speed=speed)) for speed in SPEEDS))
    plain = lengths[SPEEDS.index(1)]
    for speed, length in zip(SPEEDS, lengths, strict=True):
        assert length * speed == pytest.approx(plain, rel=0.08), speed
    for (slow, longer), (fast, shorter) in pairwise(zip(SPEEDS, lengths, strict=True)):
        assert longer > shorter, (slow, fast)


async def test_speed_keeps_the_pitch(speaker: Any) -> None:
    slow, plain, fast = await asyncio.gather(
        *(said(speaker, voice="en-us+f3", prosody=Prosody(speed=speed)) for speed in (0.3, 1, 3.5))
    )
    rate = speaker.info.sample_rate
    assert abs(semitones(fundamental(slow, rate), fundamental(plain, rate))) < 1
    assert abs(semitones(fundamental(fast, rate), fundamental(plain, rate))) < 1.5


@pytest.mark.parametrize("voice", ["en-us+f3", "de+f5", "te+f2"])
async def test_pitch_moves_by_semitones(speaker: Any, voice: str) -> None:
    wanted = [-12, -9, -6, -3, 0, 3, 6, 9, 12]
    audio = await asyncio.gather(*(said(speaker, voice=voice, prosody=Prosody(pitch=pitch)) for pitch in wanted))
    heights = [fundamental(samples, speaker.info.sample_rate) for samples in audio]
    plain = heights[wanted.index(0)]
    for pitch, height in zip(wanted, heights, strict=True):
        assert semitones(height, plain) == pytest.approx(pitch, abs=1.5), pitch
    assert heights == sorted(heights)
    lengths = [len(samples) for samples in audio]
    assert max(lengths) < 1.03 * min(lengths)


async def test_a_male_voice_rises_an_octave(speaker: Any) -> None:
    plain, high = await asyncio.gather(said(speaker), said(speaker, prosody=Prosody(pitch=12)))
    rate = speaker.info.sample_rate
    assert semitones(fundamental(high, rate), fundamental(plain, rate)) == pytest.approx(12, abs=1.5)


async def test_pitch_range_widens_the_melody(speaker: Any) -> None:
    audio = await asyncio.gather(
        *(said(speaker, voice="en-us+f3", prosody=Prosody(pitch_range=times)) for times in (0, 0.5, 1, 1.9))
    )
    widths = [float(np.std(heights(samples, speaker.info.sample_rate))) for samples in audio]
    assert widths == sorted(widths)
    assert widths[0] < 3
    assert widths[-1] > 2 * widths[1]


async def test_emphasis_is_louder_slower_and_higher(speaker: Any) -> None:
    audio = await asyncio.gather(
        *(said(speaker, voice="en-us+f3", prosody=Prosody(emphasis=emphasis)) for emphasis in (-1, 0, 1, 2))
    )
    for weaker, stronger in pairwise(audio):
        assert loudness(stronger) > 1.1 * loudness(weaker)
        assert len(stronger) > 1.02 * len(weaker)
        assert fundamental(stronger, speaker.info.sample_rate) > fundamental(weaker, speaker.info.sample_rate)


async def test_prosody_out_of_range_is_clamped(speaker: Any) -> None:
    wild, edge = await asyncio.gather(
        said(speaker, "One.", prosody=Prosody(speed=100, pitch=-99, pitch_range=50, emphasis=9)),
        said(speaker, "One.", prosody=Prosody(speed=4, pitch=-12, pitch_range=50, emphasis=2)),
    )
    assert len(wild)
    assert wild.tobytes() == edge.tobytes()


async def test_spelling_says_each_letter(speaker: Any) -> None:
    word, letters, longer = await asyncio.gather(
        said(speaker, "NASA"), said(speaker, "NASA", spell=True), said(speaker, "NASANASA", spell=True)
    )
    assert len(letters) > 1.5 * len(word)
    assert len(longer) > 1.5 * len(letters)


async def test_spelling_says_a_telugu_sign_as_it_sounds(speaker: Any) -> None:
    sign, plain = await asyncio.gather(
        said(speaker, "స్తే", language="te", spell=True), said(speaker, "స్తే", language="te")
    )
    assert len(sign) == pytest.approx(len(plain), rel=0.3)


async def test_spelling_names_what_is_markup_elsewhere(speaker: Any) -> None:
    for text in "<&>":
        named = await said(speaker, text, spell=True)
        assert loudness(named) > 500
    same, other = await asyncio.gather(said(speaker, "<a/>", spell=True), said(speaker, "a", spell=True))
    assert len(same) > 2 * len(other)


async def test_control_characters_are_not_commands(speaker: Any) -> None:
    command, blank = await asyncio.gather(said(speaker, "hello \x01300S there"), said(speaker, "hello  300S there"))
    assert command.tobytes() == blank.tobytes()
    assert len(await said(speaker, "hello\x00there")) > 1.5 * len(await said(speaker, "hello"))


async def test_markup_is_text(speaker: Any) -> None:
    text, markup = await asyncio.gather(
        said(speaker, "prosody rate fast hello"), said(speaker, "<prosody rate='fast'>hello</prosody>")
    )
    assert len(markup) > len(text)
