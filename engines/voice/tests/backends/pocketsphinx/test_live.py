"""Live recognition by PocketSphinx."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import Samples, Segment
from engines.voice.tests.backends.processes import children_of
from engines.voice.tests.backends.recordings import COUNT, RATE, WORDS, heard_live, pieces, right

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHILD = "pocketsphinx._child"


async def test_it_is_understood_while_it_goes_on(recogniser: Any, count: Samples) -> None:
    interim: list[Segment] = []
    async with recogniser.live(WORDS) as utterance:
        async for piece in pieces(count, RATE // 8):
            segment = await utterance.feed(piece, interim=True)
            if segment is not None:
                interim.append(segment)
        final = await utterance.finish()
    assert final is not None
    assert right(final.text, COUNT) >= 3
    assert len(interim) >= 3
    assert all(before.text != after.text for before, after in pairwise(interim))
    assert len(interim[0].text) < len(interim[-1].text)
    # Neither interim results nor the cuts of the utterance change the final result.
    assert final == await heard_live(recogniser, count)
    assert final == await heard_live(recogniser, count, size=777)


async def test_its_words_have_times_from_its_first_sample(recogniser: Any, count: Samples) -> None:
    segment = await heard_live(recogniser, count)
    assert segment is not None
    assert segment.text == " ".join(word.word for word in segment.words)
    at = 200
    for word in segment.words:
        assert at <= word.start_ms < word.end_ms <= len(count) * 1000 // RATE
        assert 0 <= word.confidence <= 1
        at = word.end_ms


@pytest.mark.parametrize("gain", [0.05, 1.2])
async def test_loudness_does_not_matter(recogniser: Any, count: Samples, gain: float) -> None:
    segment = await heard_live(recogniser, np.clip(count * gain, -32768, 32767).astype(np.int16))
    assert segment is not None
    assert right(segment.text, COUNT) >= 3


async def test_an_empty_utterance_has_no_result(recogniser: Any) -> None:
    async with recogniser.live(WORDS) as utterance:
        assert await utterance.finish() is None
    assert await heard_live(recogniser, np.zeros(100, np.int16)) is None
    assert await heard_live(recogniser, np.zeros(0, np.int16)) is None


async def test_it_may_be_dropped(recogniser: Any, count: Samples) -> None:
    whole = await heard_live(recogniser, count)
    known = children_of(os.getpid(), CHILD)
    async with recogniser.live(WORDS) as utterance:
        await utterance.feed(count[:RATE], interim=True)
    with pytest.raises(KeyError):
        async with recogniser.live(WORDS) as utterance:
            await utterance.feed(count[:RATE], interim=False)
            raise KeyError
    assert await heard_live(recogniser, count) == whole
    assert set(known) <= set(children_of(os.getpid(), CHILD)), "no process was lost"
