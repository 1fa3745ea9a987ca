"""Loudness and peaks by Recommendation ITU-R BS.1770-5 (2023), for one channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

# The recommendation's two filters (annex 1, tables 1 and 2) at 48,000 samples a second: head and ear.
_TABLE_RATE = 48_000
_SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
# Makes a full-scale sine of 997 Hz in one channel measure -3.01 LUFS.
_OFFSET_DB = -0.691
_BLOCK_S = 0.4
_STEP_S = 0.1
_ABSOLUTE_GATE = -70.0
_RELATIVE_GATE = -10.0
# Seconds of silence after the audio, in which the filters ring out.
_RING_S = 1
_OVERSAMPLING = 4


def loudness_lufs(samples: Samples, rate: int) -> float:
    """Return the integrated loudness in LUFS: K-weighted, in blocks of 400 ms, gated. Minus infinity for silence.

    Audio of less than 400 ms is one block. `rate` is in samples a second.
    """
    if not len(samples):
        return -np.inf
    squares = np.concatenate([[0.0], np.cumsum(_weighted(samples / 32768, rate) ** 2)])
    block, step = min(len(samples), round(_BLOCK_S * rate)), round(_STEP_S * rate)
    starts = np.arange(0, len(samples) - block + 1, step)
    power = (squares[starts + block] - squares[starts]) / block
    power = power[_lufs(power) > _ABSOLUTE_GATE]
    if not len(power):
        return -np.inf
    power = power[_lufs(power) > _lufs(power.mean()) + _RELATIVE_GATE]
    return float(_lufs(power.mean()))


def sample_peak_db(samples: Samples) -> float:
    """Return the highest sample in dBFS; minus infinity for silence."""
    return _db(np.abs(samples.astype(np.int32)).max(initial=0) / 32768)


def true_peak_db(samples: Samples) -> float:
    """Return the highest value of the wave that runs through the samples, in dBFS, found by oversampling."""
    if not len(samples):
        return -np.inf
    # Padded with silence, or the end would wrap around into the beginning.
    padded = np.pad(samples / 32768, 64)
    size = len(padded) * _OVERSAMPLING
    return _db(np.abs(np.fft.irfft(np.fft.rfft(padded), size)).max() * _OVERSAMPLING)


def clipped(samples: Samples) -> int:
    """Return the number of clipped samples: those at full scale next to another at full scale."""
    at_end = (samples == 32767) | (samples <= -32767)
    return int(np.count_nonzero(at_end[1:] & at_end[:-1]))


def _weighted(wave: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.float64]:
    """Return the wave after both filters, applied by their frequency responses, which hold for any rate."""
    size = 1 << (len(wave) + _RING_S * rate - 1).bit_length()
    # Above half the tables' rate the filters are undefined, and nothing is audible.
    hertz = np.minimum(np.fft.rfftfreq(size, 1 / rate), _TABLE_RATE / 2)
    delay = np.exp(-2j * np.pi * hertz / _TABLE_RATE)
    spectrum = np.fft.rfft(wave, size)
    for above, below in (_SHELF, _HIGH_PASS):
        spectrum *= np.polyval(above[::-1], delay) / np.polyval(below[::-1], delay)
    filtered: npt.NDArray[np.float64] = np.fft.irfft(spectrum, size)[: len(wave)]
    return filtered


def _lufs(power: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.asarray(_OFFSET_DB + 10 * np.log10(power))


def _db(value: float) -> float:
    return 20 * float(np.log10(value)) if value > 0 else -np.inf
