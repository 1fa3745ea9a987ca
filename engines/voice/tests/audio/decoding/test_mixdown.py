"""Channels that cancel each other: what was said survives the mix."""

from __future__ import annotations

import numpy as np
import pytest

from enginehouse.engines.voice.backends.base import Samples
from engines.voice.tests.audio.sounds import burst, heard, noise, peak_hertz, tone, wav

RATE = 16_000


def level(samples: Samples) -> float:
    return float(np.sqrt(np.square(samples.astype(np.float64)).mean()))


def mixed(*channels: Samples) -> Samples:
    return heard(wav(np.stack(channels, axis=1).astype("<i2").tobytes(), channels=len(channels), rate=RATE))


def alike(heard_samples: Samples, original: Samples) -> float:
    """The correlation of two sounds; 1 or -1 for the same."""
    return float(np.corrcoef(heard_samples[: len(original)], original[: len(heard_samples)])[0, 1])


@pytest.mark.parametrize("share", [1.0, 0.9, 0.6])
def test_an_inverted_channel_does_not_silence_speech(share: float) -> None:
    speech = burst(2.0, RATE)
    samples = mixed(speech, (-speech * share).astype(np.int16))
    assert len(samples) == len(speech)
    assert level(samples) > 0.9 * level(speech)
    assert alike(samples, speech) > 0.999


def test_the_louder_of_two_inverted_channels_is_taken() -> None:
    speech = burst(2.0, RATE)
    assert level(mixed((-speech * 0.7).astype(np.int16), speech)) > 0.9 * level(speech)


@pytest.mark.parametrize("channels", [4, 6, 8, 12])
def test_no_pair_of_many_channels_silences_the_rest(channels: int) -> None:
    speech = burst(1.0, RATE)
    silent = np.zeros_like(speech)
    samples = mixed(speech, -speech, *[silent] * (channels - 2))
    assert level(samples) > 0.9 * level(speech)


def test_channels_that_do_not_cancel_are_mixed_as_ever() -> None:
    low, high = tone(300, 1.0, RATE), tone(1000, 1.0, RATE)
    samples = mixed(low, high).astype(np.float64)
    assert np.abs(samples - (low.astype(np.float64) + high) / 2).max() <= 1
    speech = burst(1.0, RATE)
    assert np.abs(mixed(speech, speech).astype(np.int64) - speech).max() <= 1
    assert np.abs(mixed(speech, np.zeros_like(speech)).astype(np.int64) * 2 - speech).max() <= 2


def test_independent_noise_does_not_count_as_cancelling() -> None:
    left, right = noise(2.0, RATE, level=3000, seed=1), noise(2.0, RATE, level=3000, seed=2)
    samples = mixed(left, right).astype(np.float64)
    assert np.abs(samples - (left.astype(np.float64) + right) / 2).max() <= 1


def test_a_channel_inverted_midway_is_heard_on_without_a_click() -> None:
    sound = tone(200, 2.0, RATE)
    other = sound.copy()
    other[RATE:] = -other[RATE:]
    samples = mixed(sound, other)
    steady = np.abs(np.diff(sound.astype(np.int64))).max()
    # At the moment itself the recording has a jump of its own, in the inverted channel.
    around = np.abs(np.diff(samples.astype(np.int64)))
    assert around.max() <= 1.5 * steady
    assert level(samples[RATE + RATE // 5 :]) > 0.9 * level(sound)
    assert abs(peak_hertz(samples[RATE:], RATE) - 200) < 2


def test_what_is_inverted_in_a_short_recording_survives_too() -> None:
    speech = tone(440, 0.01, RATE)
    assert level(mixed(speech, -speech)) > 0.9 * level(speech)
