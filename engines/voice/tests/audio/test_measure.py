"""Measurements against known values: the recommendation's own tone, peaks between samples, readable PNG files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from enginehouse.engines.voice.audio.measure import (
    clipped,
    loudness_lufs,
    sample_peak_db,
    spectrogram,
    true_peak_db,
    write_png,
)
from engines.voice.tests.audio.sounds import burst, noise, tone

FULL = 32_767


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_the_recommendations_own_tone(rate: int) -> None:
    """BS.1770-5: a sine of 997 Hz at full scale in one channel is -3.01 LKFS."""
    assert loudness_lufs(tone(997, 5, rate, level=FULL), rate) == pytest.approx(-3.01, abs=0.02)


@pytest.mark.parametrize(("hertz", "decibels"), [(38, -6), (100, -1.5), (2_000, 2.7), (10_000, 4)])
def test_the_weighting_depends_on_frequency(hertz: float, decibels: float) -> None:
    """The weighting relative to 997 Hz, which is 0.69 dB."""
    found = loudness_lufs(tone(hertz, 5, 48_000, level=FULL), 48_000) + 3.01 + 0.69
    assert found == pytest.approx(decibels, abs=0.8)


def test_ten_times_softer_is_twenty_less() -> None:
    speech = burst(5, 16_000, level=8_000)
    soft = (speech / 10).astype(np.int16)
    assert loudness_lufs(speech, 16_000) - loudness_lufs(soft, 16_000) == pytest.approx(20, abs=0.1)


def test_pauses_do_not_count() -> None:
    speech = burst(4, 16_000)
    paused = np.concatenate([speech, np.zeros(16_000 * 10, dtype=np.int16), speech])
    assert loudness_lufs(paused, 16_000) == pytest.approx(loudness_lufs(speech, 16_000), abs=0.3)
    # Audio ten decibels below the rest counts, thirty does not.
    quiet = np.concatenate([tone(997, 10, 48_000, level=FULL), tone(997, 10, 48_000, level=FULL / 31.6)])
    assert loudness_lufs(quiet, 48_000) == pytest.approx(-3.01, abs=0.2)


def test_loudness_of_very_short_audio() -> None:
    assert loudness_lufs(np.zeros(0, dtype=np.int16), 16_000) == -np.inf
    assert loudness_lufs(np.zeros(16_000, dtype=np.int16), 16_000) == -np.inf
    assert loudness_lufs(tone(997, 0.1, 48_000, level=FULL), 48_000) == pytest.approx(-3, abs=1)


def test_peaks() -> None:
    assert sample_peak_db(np.array([0, -32768], dtype=np.int16)) == 0
    assert sample_peak_db(np.array([16_384], dtype=np.int16)) == pytest.approx(-6.02, abs=0.01)
    assert sample_peak_db(np.zeros(5, dtype=np.int16)) == -np.inf
    assert true_peak_db(np.zeros(0, dtype=np.int16)) == -np.inf


def test_a_peak_between_samples_is_found() -> None:
    """A quarter of the rate, sampled halfway between crests: samples are 3 dB below the wave."""
    time = np.arange(4_800)
    wave = (FULL * np.sin(np.pi / 2 * time + np.pi / 4) * np.hanning(4_800)).astype(np.int16)
    assert sample_peak_db(wave) == pytest.approx(-3.01, abs=0.05)
    assert true_peak_db(wave) == pytest.approx(0, abs=0.1)


def test_clipping_is_counted() -> None:
    assert clipped(tone(440, 1, 16_000, level=FULL)) == 0
    over = np.clip(tone(440, 1, 16_000, level=20_000).astype(int) * 3, -32768, 32767).astype(np.int16)
    assert clipped(over) > 5_000
    assert clipped(np.zeros(0, dtype=np.int16)) == 0


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    levels = spectrogram(tone(2_000, 1, 16_000, level=FULL), 16_000)
    rows, columns = levels.shape
    assert rows == 161
    assert columns == pytest.approx(200, abs=5)
    assert np.argmax(levels[:, 50]) == 40
    assert levels[40, 50] == pytest.approx(0, abs=0.2)
    assert levels[100, 50] < -60
    assert spectrogram(np.zeros(3, dtype=np.int16), 16_000).shape == (161, 1)
    assert (spectrogram(np.zeros(16_000, dtype=np.int16), 16_000) == -100).all()


def test_pictures_are_png(tmp_path: Path) -> None:
    levels = spectrogram(np.concatenate([tone(3_000, 0.5, 16_000), noise(0.5, 16_000, level=300)]), 16_000)
    path = tmp_path / "speech.png"
    write_png(path, levels)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="gray")
    assert picture.shape == levels.shape
    # The lowest frequency is at the bottom: 3,000 Hz is row 60 from there.
    assert np.argmax(picture[::-1, 30]) == 60
    assert picture[::-1, 30][60] == pytest.approx((levels[60, 30] + 100) * 2.55, abs=1)
    with pytest.raises(ValueError, match=r"invalid shape: \(0, 3\)"):
        write_png(path, levels[:0, :3])
