"""Recordings for the tests of recognition, and their results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np

from enginehouse.engines.voice.audio import Resampler
from enginehouse.engines.voice.backends.base import RecognitionOptions, Samples, Segment
from engines.voice.tests.backends.speech import said, speaking

RATE = 16_000
COUNT = "one two three four"
DOOR = "open the door"
WORDS = RecognitionOptions(language="en-US", word_times=True)


async def spoken(text: str) -> Samples:
    """Synthesize a text in the voice that is recognized best, with some silence around it."""
    async with speaking(workers=1) as speaker:
        resampler = Resampler(source_rate=speaker.info.sample_rate, rate=RATE)
        samples = resampler.feed(await said(speaker, text, voice="en-us+edward"))
        return np.concatenate([silence(0.3), samples, resampler.finish(), silence(0.6)])


def silence(seconds: float) -> Samples:
    return np.zeros(int(seconds * RATE), np.int16)


async def pieces(samples: Samples, size: int = RATE // 5) -> AsyncIterator[Samples]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


async def heard(
    recogniser: Any, samples: Samples, options: RecognitionOptions = WORDS, *, size: int = RATE // 5
) -> list[Segment]:
    return [segment async for segment in recogniser.transcribe(pieces(samples, size), options)]


async def heard_live(recogniser: Any, samples: Samples, *, size: int = RATE // 5) -> Segment | None:
    async with recogniser.live(WORDS) as utterance:
        async for piece in pieces(samples, size):
            assert await utterance.feed(piece, interim=False) is None
        result: Segment | None = await utterance.finish()
    return result


def text(segments: Sequence[Segment]) -> str:
    return " ".join(segment.text for segment in segments)


def right(text: str, reference: str) -> int:
    """Return the number of words of the reference that are in the text, in order."""
    found, at = 0, 0
    words = text.split()
    for word in reference.split():
        if word in words[at:]:
            at = words.index(word, at) + 1
            found += 1
    return found
