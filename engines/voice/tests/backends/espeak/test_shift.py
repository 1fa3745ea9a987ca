"""Pitch shifting of audio while it comes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.backends.espeak._shift import PitchShifter

RATE = 22_050


def tone(frequency: float, length: int = RATE) -> Samples:
    made: Samples = (np.sin(2 * np.pi * frequency * np.arange(length) / RATE) * 8_000).astype(np.int16)
    return made


def frequency(samples: Samples) -> float:
    window = np.hanning(len(samples))
    return float(np.argmax(np.abs(np.fft.rfft(samples * window))) * RATE / len(samples))


@pytest.mark.parametrize("factor", [0.83, 0.95, 1.0, 1.05, 1.13])
def test_a_tone_moves_by_the_factor(factor: float) -> None:
    out = PitchShifter(factor).feed(tone(440))
    assert frequency(out) == pytest.approx(440 * factor, rel=0.01)
    assert len(out) == pytest.approx(RATE / factor, abs=2)


@given(
    st.lists(st.integers(-32_768, 32_767), max_size=300),
    st.floats(0.5, 2),
    st.lists(st.integers(0, 300), max_size=10),
)
def test_the_result_does_not_depend_on_the_cuts(values: list[int], factor: float, cuts: list[int]) -> None:
    samples = np.array(values, np.int16)
    whole = PitchShifter(factor).feed(samples)
    shift = PitchShifter(factor)
    pieces = [shift.feed(piece) for piece in np.split(samples, sorted(cuts))]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert len(values) / factor - 1 / factor - 1 <= len(whole) <= len(values) / factor + 1


@given(st.integers(-32_768, 32_767), st.floats(0.5, 2))
def test_a_uniform_signal_stays_uniform(value: int, factor: float) -> None:
    out = PitchShifter(factor).feed(np.full(50, value, np.int16))
    assert set(out) == {value}
