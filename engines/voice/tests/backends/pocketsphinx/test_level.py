"""Normalization of the level of utterances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.backends.pocketsphinx._level import LevelNormalizer
from engines.voice.tests.backends.speech import loudness

LISTEN = 4_000


def levelled(samples: Samples, cuts: list[int] | None = None, *, target: float = 500, max_gain: float = 20) -> Samples:
    level = LevelNormalizer(settle_samples=LISTEN, target=target, max_gain=max_gain)
    pieces = [level.feed(piece) for piece in np.split(samples, sorted(cuts or []))]
    return np.concatenate([*pieces, level.finish()])


def noise(amplitude: float, length: int = 16_000) -> Samples:
    made: Samples = (np.random.default_rng(7).standard_normal(length) * amplitude).astype(np.int16)
    return made


@pytest.mark.parametrize("amplitude", [60, 500, 5_000])
def test_loud_and_quiet_come_out_alike(amplitude: float) -> None:
    out = levelled(noise(amplitude))
    assert len(out) == 16_000
    assert loudness(out) == pytest.approx(500, rel=0.1)


def test_near_silence_is_not_blown_up() -> None:
    assert loudness(levelled(noise(2))) == pytest.approx(20 * loudness(noise(2)), rel=0.1)
    assert not levelled(np.zeros(16_000, np.int16)).any()


def test_nothing_comes_before_the_level_is_known() -> None:
    level = LevelNormalizer(settle_samples=LISTEN, target=500, max_gain=20)
    assert len(level.feed(noise(100, LISTEN - 1))) == 0
    assert len(level.feed(noise(100, 10))) == LISTEN + 9
    assert len(level.feed(noise(100, 5))) == 5
    assert len(level.finish()) == 0


@pytest.mark.parametrize("length", [0, 1, 399])
def test_a_short_utterance_is_kept(length: int) -> None:
    assert len(levelled(noise(100, length))) == length


def test_overflow_is_clipped() -> None:
    loud_later = np.concatenate([noise(50, LISTEN), np.full(100, 30_000, np.int16), np.full(100, -30_000, np.int16)])
    out = levelled(loud_later)
    assert set(out[LISTEN : LISTEN + 100]) == {32_767}
    assert set(out[LISTEN + 100 :]) == {-32_768}


@given(st.lists(st.integers(0, 16_000), max_size=10))
def test_the_result_does_not_depend_on_the_cuts(cuts: list[int]) -> None:
    assert levelled(noise(900), cuts).tobytes() == levelled(noise(900)).tobytes()
