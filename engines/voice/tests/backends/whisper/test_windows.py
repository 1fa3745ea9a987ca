"""Recordings cut into Whisper's windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.whisper._languages import CODES, code_of, tag_of
from enginehouse.engines.voice.backends.whisper._windows import MAX_WINDOW_SAMPLES, RATE, Windows


def voiced(seconds, pitch=120):
    time = np.arange(round(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * pitch * number * time) / number for number in range(1, 20))
    return (sound * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)) * 6000).astype(np.int16)


def silence(seconds):
    return np.zeros(round(seconds * RATE), np.int16)


def cut(pieces, *, skip_silence):
    windows = Windows(skip_silence=skip_silence)
    found = [window for piece in pieces for window in windows.push(piece)]
    return [*found, *windows.finish()]


# Alternating speech and silence, in tenths of a second.
turns = st.lists(st.integers(0, 250), max_size=8).map(
    lambda tenths: np.concatenate(
        [np.empty(0, np.int16), *(voiced(t / 10) if i % 2 else silence(t / 10) for i, t in enumerate(tenths))]
    )
)


@given(recording=turns, step=st.integers(100, 70_000))
@settings(deadline=None, max_examples=25)
def test_windows_are_the_recording(recording, step):
    pieces = [recording[begin : begin + step] for begin in range(0, len(recording), step)]
    windows = cut(pieces, skip_silence=False)
    assert np.array_equal(np.concatenate([np.empty(0, np.int16), *(w.samples for w in windows)]), recording)
    starts = np.cumsum([0, *(len(window.samples) for window in windows)])[:-1]
    assert [window.start for window in windows] == list(starts)
    assert all(0 < len(window.samples) <= MAX_WINDOW_SAMPLES for window in windows)


@given(recording=turns, step=st.integers(100, 70_000))
@settings(deadline=None, max_examples=25)
def test_silence_alone_is_skipped(recording, step):
    pieces = [recording[begin : begin + step] for begin in range(0, len(recording), step)]
    kept = np.zeros(len(recording), bool)
    for window in cut(pieces, skip_silence=True):
        end = window.start + len(window.samples)
        assert 0 < len(window.samples) <= MAX_WINDOW_SAMPLES
        assert np.array_equal(window.samples, recording[window.start : end])
        assert not kept[window.start : end].any()
        kept[window.start : end] = True
    # Speech is kept, except for the detector's delay.
    sound = recording != 0
    if sound.sum() > 3 * RATE:
        assert sound[kept].sum() > 0.8 * sound.sum()
    assert not kept.any() or sound[kept].any()


def test_windows_end_in_the_last_good_pause():
    recording = np.concatenate((voiced(14), silence(1), voiced(9), silence(0.6), voiced(20)))
    first, second = cut([recording], skip_silence=False)
    assert 24 * RATE < second.start < 24.6 * RATE
    assert len(first.samples) == second.start


def test_an_early_pause_does_not_cut():
    recording = np.concatenate((voiced(4), silence(1), voiced(40)))
    first, *_ = cut([recording], skip_silence=False)
    assert len(first.samples) > 10 * RATE


def test_without_a_pause_the_quietest_place_is_cut():
    recording = voiced(40)
    recording[27 * RATE : 27 * RATE + 960] //= 50
    first, _ = cut([recording], skip_silence=False)
    assert abs(len(first.samples) - 27 * RATE) <= 1440


def test_hours_of_silence_are_not_kept():
    windows = Windows(skip_silence=True)
    for _ in range(100):
        assert not list(windows.push(silence(30)))
    assert windows.so_far() is None
    assert len(windows._held) < RATE
    list(windows.push(voiced(2)))
    window = windows.so_far()
    assert 2999 * RATE < window.start < 3000.5 * RATE
    # `so_far` takes nothing away.
    assert [found.start for found in windows.finish()] == [window.start]


@pytest.mark.parametrize(
    ("tag", "code"),
    [("en-IN", "en"), ("TE", "te"), ("jv", "jw"), ("nb-NO", "no"), ("fil", "tl"), ("cmn-Hans", "zh"), ("tlh", "")],
)
def test_codes_of_tags(tag, code):
    assert code_of(tag) == code


def test_every_code_has_a_tag_that_leads_back():
    assert len(CODES) == len(set(CODES)) == 100
    assert all(code_of(tag_of(code)) == code for code in CODES)
