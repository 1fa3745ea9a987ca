"""Chunks and pauses are joined to one stream without clicks or clipping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.audio import Joiner, amplify, largest_jump
from enginehouse.engines.voice.backends.base import Samples
from engines.voice.tests.audio.sounds import tone

RATE = 24_000
KEPT = RATE * 30 // 1000


def quiet(count: int) -> Samples:
    return np.zeros(count, dtype=np.int16)


def joined(*chunks: Samples, piece: int = 1_000, pause_ms: int = 0, volume_db: float = 0) -> Samples:
    joiner = Joiner(sample_rate=RATE)
    out = []
    for chunk in chunks:
        joiner.begin(volume_db=volume_db)
        out += [joiner.feed(chunk[at : at + piece]) for at in range(0, len(chunk), piece)]
        out += [joiner.end(), joiner.pause(pause_ms)]
    whole = np.concatenate(out)
    assert joiner.samples_out == len(whole)
    return whole


def cut_tone() -> Samples:
    """A tone that begins and ends at its crest: the worst possible click."""
    return tone(300, 0.5, RATE, level=20_000)[20:11_980]


def test_borders_do_not_click() -> None:
    steepest = largest_jump(cut_tone())
    plain = np.concatenate([quiet(1_000), cut_tone(), quiet(1_000), cut_tone()])
    assert largest_jump(plain) > 10 * steepest
    assert largest_jump(np.concatenate([quiet(1_000), joined(cut_tone(), cut_tone(), pause_ms=100)])) < 1.5 * steepest
    assert largest_jump(joined(cut_tone(), cut_tone())) < 1.5 * steepest


@pytest.mark.parametrize("piece", [1, 7, 96, 97, 5_000])
def test_the_result_does_not_depend_on_the_pieces(piece: int) -> None:
    chunk = np.concatenate([quiet(2_000), cut_tone(), quiet(3_000), cut_tone(), quiet(1_500)])
    assert np.array_equal(joined(chunk, piece=piece), joined(chunk, piece=len(chunk)))


def test_chunks_that_begin_and_end_softly_are_left_alone() -> None:
    chunk = (tone(300, 0.5, RATE) * np.hanning(RATE // 2)).astype(np.int16)
    assert np.array_equal(joined(chunk)[: len(chunk)], chunk[: len(joined(chunk))])


def test_silent_ends_are_cut_and_silence_within_is_kept() -> None:
    sound = (tone(300, 0.2, RATE) * np.hanning(4_800)).astype(np.int16)
    sound[0] = sound[-1] = 0
    body = np.concatenate([sound, quiet(9_000), sound])
    got = joined(np.concatenate([quiet(12_000), body, quiet(12_000)]))
    first, last = np.flatnonzero(np.abs(body) > 4)[[0, -1]]
    assert len(got) == last - first + 1 + 2 * KEPT
    assert np.array_equal(got[KEPT:-KEPT], body[first : last + 1])


def test_shorter_silence_is_kept_as_it_is() -> None:
    chunk = np.concatenate([quiet(100), (tone(300, 0.2, RATE) * np.hanning(4_800)).astype(np.int16), quiet(100)])
    assert np.array_equal(joined(chunk), chunk)


@pytest.mark.parametrize("count", [0, 10, 100_000])
def test_a_silent_chunk_is_at_most_what_is_kept(count: int) -> None:
    assert np.array_equal(joined(quiet(count)), quiet(min(count, KEPT)))


def test_pauses_are_as_long_as_they_say() -> None:
    joiner = Joiner(sample_rate=RATE)
    assert np.array_equal(joiner.pause(250), quiet(6_000))
    assert len(joiner.pause(0)) == 0
    assert joiner.samples_out == 6_000


def test_sound_is_not_held_back() -> None:
    joiner = Joiner(sample_rate=RATE)
    joiner.begin()
    fed = out = 0
    for start in range(0, 12_000, 480):
        out += len(joiner.feed(cut_tone()[start : start + 480]))
        fed += len(cut_tone()[start : start + 480])
        assert fed - out <= 0.004 * RATE + 100


@pytest.mark.parametrize("volume_db", [-40, -6, 0, 3, 6, 12])
def test_volume_is_as_requested(volume_db: float) -> None:
    soft = (tone(300, 0.5, RATE, level=3_000) * np.hanning(RATE // 2)).astype(np.int16)
    gain = 10 ** (volume_db / 20)
    got = joined(soft, volume_db=volume_db)
    assert np.abs(got - soft[: len(got)] * gain).max() <= 0.51


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=300), st.floats(-40, 24))
def test_nothing_wraps_and_louder_stays_louder(values: list[int], volume_db: float) -> None:
    samples = np.array(values, dtype=np.int16)
    got = amplify(samples, 10 ** (volume_db / 20)).astype(int)
    assert np.abs(got).max() <= 32768
    # Signs and order are kept.
    assert (got * samples >= 0).all()
    order = np.argsort(samples, kind="stable")
    assert (np.diff(got[order]) >= 0).all()


def test_the_limiter_bends_smoothly() -> None:
    ramp = np.arange(-32768, 32768, 16)
    got = amplify(ramp.astype(np.int16), 2.0).astype(int)
    steps = np.diff(got)
    assert steps.max() <= 33
    # Slopes change little from step to step: there is no audible corner.
    assert np.abs(np.diff(steps)).max() <= 2
    below = np.abs(ramp) < 11_500
    assert np.array_equal(got[below], 2 * ramp[below])


def test_loud_speech_made_louder_does_not_click() -> None:
    loud = (tone(300, 0.5, RATE, level=30_000) * np.hanning(RATE // 2)).astype(np.int16)
    assert largest_jump(joined(loud, volume_db=12)) < 5 * largest_jump(loud)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(-32768, 32767), max_size=400), max_size=5), st.integers(1, 200))
def test_any_chunks_make_a_stream(chunks: list[list[int]], piece: int) -> None:
    arrays = [np.array(chunk, dtype=np.int16) for chunk in chunks]
    if arrays:
        got = joined(*arrays, piece=piece, pause_ms=10)
        assert got.dtype == np.int16
        assert len(got) <= sum(map(len, arrays)) + len(arrays) * 240
        assert abs(int(got[0])) <= 64


def test_the_measure_of_clicks() -> None:
    assert largest_jump(np.array([], dtype=np.int16)) == 0
    assert largest_jump(np.array([5], dtype=np.int16)) == 0
    assert largest_jump(np.array([0, 5, -3], dtype=np.int16)) == 8
    assert largest_jump(np.array([-32768, 32767], dtype=np.int16)) == 65_535


def test_wrong_use_is_refused() -> None:
    joiner = Joiner(sample_rate=RATE)
    with pytest.raises(ValueError, match="no chunk is open"):
        joiner.feed(quiet(1))
    with pytest.raises(ValueError, match="no chunk is open"):
        joiner.end()
    with pytest.raises(ValueError, match="-1 ms; must be 0 or more"):
        joiner.pause(-1)
    with pytest.raises(ValueError, match="invalid volume: nan dB"):
        joiner.begin(volume_db=float("nan"))
    joiner.begin()
    with pytest.raises(ValueError, match="a chunk is open already"):
        joiner.begin()
    with pytest.raises(ValueError, match="pauses come between chunks"):
        joiner.pause(10)
    with pytest.raises(ValueError, match="must be positive"):
        Joiner(sample_rate=0)
