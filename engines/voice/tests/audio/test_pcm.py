"""Live PCM: bytes to samples in any pieces, and seamless resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.audio import PcmReader, Resampler, pcm_bytes, pcm_samples
from engines.voice.tests.audio.sounds import chirp, peak_hertz, tone


@given(st.binary(max_size=400), st.lists(st.integers(0, 50), max_size=20))
def test_samples_do_not_depend_on_the_pieces(data: bytes, sizes: list[int]) -> None:
    reader = PcmReader()
    got, at = [], 0
    for size in sizes:
        got.append(reader.feed(data[at : at + size]))
        at += size
    got.append(reader.feed(data[at:]))
    samples = np.concatenate(got)
    assert samples.dtype == np.int16
    assert pcm_bytes(samples) == data[: len(data) // 2 * 2]
    assert reader.pending == len(data) % 2


def test_bytes_are_little_endian() -> None:
    assert pcm_samples(b"\x01\x00\xff\xff\x00\x80").tolist() == [1, -1, -32768]
    with pytest.raises(ValueError, match="odd number of bytes: 3"):
        pcm_samples(b"abc")


@pytest.mark.parametrize("source_rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 48_000])
def test_pitch_and_length_are_kept(source_rate: int, rate: int) -> None:
    resampler = Resampler(source_rate=source_rate, rate=rate)
    samples = tone(1_000, 1, source_rate)
    got = np.concatenate(
        [*(resampler.feed(samples[at : at + 333]) for at in range(0, len(samples), 333)), resampler.finish()]
    )
    assert len(got) == pytest.approx(rate, abs=2)
    assert peak_hertz(got, rate) == pytest.approx(1_000, abs=1.5)
    expected = tone(1_000, 1, rate)
    assert np.corrcoef(got[200:-200], expected[200 : len(got) - 200])[0, 1] > 0.999


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=20), st.sampled_from([(16_000, 8_000), (22_050, 48_000), (8_000, 8_000)]))
def test_pieces_leave_no_seam(sizes: list[int], rates: tuple[int, int]) -> None:
    samples = chirp(100, 3_000, 0.5, rates[0])
    pieces, once = (Resampler(source_rate=rates[0], rate=rates[1]) for _ in range(2))
    got, at = [], 0
    for size in sizes:
        got.append(pieces.feed(samples[at : at + size]))
        at += size
    got += [pieces.feed(samples[at:]), pieces.finish()]
    assert np.array_equal(np.concatenate(got), np.concatenate([once.feed(samples), once.finish()]))


def test_it_lags_only_a_little() -> None:
    resampler = Resampler(source_rate=48_000, rate=16_000)
    got = len(resampler.feed(tone(440, 0.1, 48_000)))
    assert 0.1 * 16_000 - got < 0.01 * 16_000


def test_frequencies_above_half_the_rate_are_removed() -> None:
    """Otherwise it would alias to another tone."""
    resampler = Resampler(source_rate=48_000, rate=16_000)
    got = np.concatenate([resampler.feed(tone(12_000, 1, 48_000, level=16_000)), resampler.finish()])
    assert np.abs(got[200:-200]).max() < 100


def test_full_scale_does_not_wrap() -> None:
    square = np.where(np.arange(16_000) % 32 < 16, 32767, -32768).astype(np.int16)
    resampler = Resampler(source_rate=16_000, rate=48_000)
    got = np.concatenate([resampler.feed(square), resampler.finish()]).astype(int)
    middles = got[3 * 8 : -100 : 3 * 32]
    assert (middles > 25_000).all()


@pytest.mark.parametrize("rates", [(0, 8_000), (8_000, -1)])
def test_impossible_rates_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Resampler(source_rate=rates[0], rate=rates[1])
