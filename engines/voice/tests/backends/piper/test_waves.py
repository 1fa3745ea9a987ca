"""Changes of a wave's pitch and speed."""

from __future__ import annotations

import numpy as np
import pytest

from enginehouse.engines.voice.backends.piper._waves import Wave, hastened, resampled

RATE = 22_050


def tone(hertz: float) -> Wave:
    """A second of a tone that begins and ends softly."""
    return np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE) * np.hanning(RATE) * 0.5


def hertz(wave: Wave) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * RATE / len(wave))


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_resampling_moves_the_pitch_and_the_length(factor: float) -> None:
    made = resampled(tone(440), factor)
    assert hertz(made) == pytest.approx(440 * factor, rel=0.01)
    assert len(made) == pytest.approx(RATE / factor, abs=1)
    assert np.abs(made).max() == pytest.approx(0.5, rel=0.02)


def test_resampling_does_not_alias() -> None:
    assert np.abs(resampled(tone(8000), 2)).max() < 0.01


@pytest.mark.parametrize("factor", [1.0, 1.3, 2.0, 3.0])
def test_haste_keeps_the_pitch_and_the_level(factor: float) -> None:
    made = hastened(tone(200), factor, RATE)
    assert hertz(made) == pytest.approx(200, rel=0.03)
    assert len(made) == pytest.approx(RATE / factor, abs=1)
    assert np.abs(made).max() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("length", [0, 1, 500, 1500])
def test_short_waves(length: int) -> None:
    wave = tone(200)[:length]
    assert len(resampled(wave, 1.5)) <= max(1, length)
    assert len(hastened(wave, 1.5, RATE)) <= length
