"""Endpointing in quiet, in noise, without pauses, and without speech."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.audio import Endpointer, Event, SpeechEnded, SpeechStarted, Vad
from enginehouse.engines.voice.backends.base import Samples
from engines.voice.tests.audio.sounds import burst, noise, tone

RATE = 16_000


def quiet(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def events(samples: Samples, *, piece: int = 777, **options: float) -> list[Event]:
    endpointer = Endpointer(sample_rate=RATE, **options)  # type: ignore[arg-type]
    found: list[Event] = []
    for start in range(0, len(samples), piece):
        found += endpointer.feed(samples[start : start + piece])
    return [*found, *endpointer.finish()]


def starts(found: Sequence[Event]) -> list[int]:
    return [event.at_ms for event in found if isinstance(event, SpeechStarted)]


def ends(found: Sequence[Event]) -> list[SpeechEnded]:
    return [event for event in found if isinstance(event, SpeechEnded)]


# Three utterances at 1.0-2.5 s, 4.0-4.8 s and 6.5-8.5 s.
SPEECH = np.concatenate(
    [quiet(1), burst(1.5, RATE), quiet(1.5), burst(0.8, RATE, seed=2), quiet(1.7), burst(2, RATE, seed=3), quiet(2)]
)
STARTS, ENDS = [1_000, 4_000, 6_500], [2_500, 4_800, 8_500]


def check(found: list[Event], *, within_ms: int) -> None:
    assert starts(found) == [pytest.approx(at, abs=within_ms) for at in STARTS]
    assert [end.at_ms for end in ends(found)] == [pytest.approx(at, abs=within_ms) for at in ENDS]
    assert [type(event) for event in found] == [SpeechStarted, SpeechEnded] * 3


def test_utterances_are_found_with_what_surrounds_them() -> None:
    found = events(SPEECH)
    check(found, within_ms=150)
    for start, end in zip(starts(found), ends(found), strict=True):
        assert not end.cut
        assert start - end.first_ms == 200
        # The samples are the input, from a little before to a little after.
        first = end.first_ms * RATE // 1000
        assert np.array_equal(end.samples, SPEECH[first : first + len(end.samples)])
        assert 0 <= end.first_ms + len(end.samples) * 1000 // RATE - end.at_ms <= 220


@pytest.mark.parametrize("decibels", [30, 20, 10])
def test_noise_is_not_speech(decibels: int) -> None:
    level = 1_700 / 10 ** (decibels / 20)
    noisy = SPEECH + noise(len(SPEECH) / RATE, RATE, level=level).astype(int)
    check(events(np.clip(noisy, -32768, 32767).astype(np.int16)), within_ms=250)


@pytest.mark.parametrize("gain", [0.03, 0.1, 4, 30])
def test_soft_and_clipped_speech_is_speech(gain: float) -> None:
    check(events(np.clip(SPEECH * gain, -32768, 32767).astype(np.int16)), within_ms=250)


def test_a_constant_offset_is_silence() -> None:
    check(events((SPEECH // 2 + 9_000).astype(np.int16)), within_ms=200)


@pytest.mark.parametrize(
    "samples",
    [
        quiet(20),
        np.full(20 * RATE, 12_345, dtype=np.int16),
        noise(20, RATE, level=3),
        noise(20, RATE, level=1_000),
        tone(50, 20, RATE, level=300),
        np.where(np.arange(20 * RATE) % RATE == 0, 30_000, 0).astype(np.int16),
    ],
    ids=["silence", "offset", "faint noise", "loud noise", "hum", "clicks"],
)
def test_silence_and_noise_have_no_utterances(samples: Samples) -> None:
    assert events(samples) == []


def test_steady_noise_is_soon_ignored() -> None:
    """Noise of any level that is taken for speech at first ends soon."""
    found = events(noise(20, RATE, level=8_000))
    assert all(end.at_ms < 2_000 for end in ends(found))


def test_speech_from_the_first_sample_to_the_last() -> None:
    found = events(burst(3, RATE)[1_000:-1_000])
    assert starts(found) == [pytest.approx(0, abs=100)]
    (end,) = ends(found)
    assert end.first_ms == 0
    assert len(end.samples) / RATE == pytest.approx(3 - 2_000 / RATE, abs=0.25)


@pytest.mark.parametrize(("silence_ms", "count"), [(200, 2), (400, 2), (900, 1)])
def test_the_pause_that_ends_an_utterance(silence_ms: int, count: int) -> None:
    samples = np.concatenate([quiet(0.5), burst(1, RATE), quiet(0.7), burst(1, RATE, seed=2), quiet(1.2)])
    assert len(starts(events(samples, end_silence_ms=silence_ms))) == count


def test_an_end_is_told_when_the_pause_is_long_enough() -> None:
    endpointer = Endpointer(sample_rate=RATE, end_silence_ms=500)
    endpointer.feed(np.concatenate([quiet(0.5), burst(1, RATE)]))
    assert endpointer.speaking
    # The detector itself lags a few frames.
    told = next(index for index in range(100) if endpointer.feed(quiet(0.02)))
    assert 20 * 20 <= told * 20 <= 700
    assert not endpointer.speaking


def test_a_short_sound_in_a_pause_does_not_prolong_it() -> None:
    click = np.zeros(RATE // 100, dtype=np.int16)
    click[:20] = 20_000
    samples = np.concatenate([quiet(0.5), burst(1, RATE), quiet(0.4), click, quiet(0.4), click, quiet(1)])
    (end,) = ends(events(samples, end_silence_ms=700))
    assert end.at_ms == pytest.approx(1_500, abs=150)


def test_the_current_utterance_is_available() -> None:
    endpointer = Endpointer(sample_rate=RATE)
    assert len(endpointer.utterance) == 0
    samples = np.concatenate([quiet(1), burst(2, RATE)])
    for start in range(0, len(samples), 320):
        endpointer.feed(samples[start : start + 320])
        first = endpointer.utterance_first_ms * RATE // 1000
        assert np.array_equal(endpointer.utterance, samples[first : first + len(endpointer.utterance)])
    assert endpointer.speaking
    assert len(endpointer.utterance) / RATE == pytest.approx(2.2, abs=0.1)
    endpointer.finish()
    assert len(endpointer.utterance) == 0


def test_endless_speech_is_cut_where_it_is_quietest() -> None:
    parts = [burst(1, RATE, seed=seed) for seed in range(14)]
    # Pauses too short to end an utterance.
    pauses = [0.12] * 14
    samples = np.concatenate([part for pair in zip(parts, map(quiet, pauses), strict=True) for part in pair])
    found = events(samples, max_utterance_s=5, end_silence_ms=500)
    cuts = [end for end in ends(found) if end.cut]
    assert len(cuts) >= 2
    assert all(len(end.samples) <= 5 * RATE for end in ends(found))
    # No sample is lost or repeated.
    assert np.array_equal(
        np.concatenate([end.samples for end in ends(found)]), samples[: sum(len(end.samples) for end in ends(found))]
    )
    for end, start in zip(cuts, starts(found)[1:], strict=False):
        assert end.at_ms == start
        around = samples[(end.at_ms - 20) * RATE // 1000 : (end.at_ms + 20) * RATE // 1000]
        assert np.abs(around).max() < 200


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=40))
def test_the_result_does_not_depend_on_the_pieces(sizes: list[int]) -> None:
    endpointer = Endpointer(sample_rate=RATE)
    samples = SPEECH[: 5 * RATE]
    found, at = [], 0
    for size in sizes:
        found += endpointer.feed(samples[at : at + size])
        at += size
    found += [*endpointer.feed(samples[at:]), *endpointer.finish()]
    expected = events(samples)
    assert starts(found) == starts(expected)
    for got, wanted in zip(ends(found), ends(expected), strict=True):
        assert (got.at_ms, got.first_ms) == (wanted.at_ms, wanted.first_ms)
        assert np.array_equal(got.samples, wanted.samples)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 50, 2_000, 32_767]), st.integers(0, 60_000)), max_size=8), st.integers(0, 99)
)
def test_events_are_consistent_for_any_audio(parts: list[tuple[int, int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    pieces = [np.clip(random.normal(0, level, size), -32768, 32767).astype(np.int16) for level, size in parts]
    samples = np.concatenate([*pieces, burst(1, RATE, seed=seed)])
    found = events(samples, max_utterance_s=2)
    assert [type(event) for event in found] == [SpeechStarted, SpeechEnded] * (len(found) // 2)
    last = 0
    for start, end in zip(starts(found), ends(found), strict=True):
        first = end.first_ms * RATE // 1000
        assert last <= first
        assert end.first_ms <= start <= end.at_ms
        assert 0 < len(end.samples) <= 2 * RATE + 320
        assert np.array_equal(end.samples, samples[first : first + len(end.samples)])
        last = first + len(end.samples)


def test_the_detector_alone() -> None:
    vad = Vad(sample_rate=RATE)
    samples = np.concatenate([quiet(0.5), burst(1, RATE)])
    decided = [
        vad.frame(samples[at : at + vad.frame_samples]) for at in range(0, len(samples) - 319, vad.frame_samples)
    ]
    assert not any(speech for speech, _ in decided[:25])
    assert sum(speech for speech, _ in decided[25:]) > 40
    assert decided[0][1] == 0
    assert max(level for _, level in decided) > 1_000


def test_invalid_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="speech is detected at 8000, 16000, 32000, 48000 only"):
        Endpointer(sample_rate=44_100)
    with pytest.raises(ValueError, match="a pause of 50 ms is too short"):
        Endpointer(sample_rate=RATE, end_silence_ms=50)
    with pytest.raises(ValueError, match=r"at most 0\.5 s are too short"):
        Endpointer(sample_rate=RATE, max_utterance_s=0.5)
