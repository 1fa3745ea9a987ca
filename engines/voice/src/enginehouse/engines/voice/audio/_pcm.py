"""Live PCM: bytes to samples, and from one rate to another."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

if TYPE_CHECKING:
    # A child that only decodes does without what the backends' interfaces import.
    from enginehouse.engines.voice.backends.base import Samples

_SLICE = 1 << 16


def pcm_samples(data: bytes) -> Samples:
    """The samples of 16-bit little-endian PCM; raises ValueError for an odd number of bytes."""
    if len(data) % 2:
        raise ValueError(f"{len(data)} bytes are no whole number of 16-bit samples; send an even number")
    return np.frombuffer(data, dtype="<i2").astype(np.int16)


def pcm_bytes(samples: Samples) -> bytes:
    """The samples as 16-bit little-endian PCM."""
    return samples.astype("<i2", copy=False).tobytes()


class PcmReader:
    """Reads 16-bit little-endian PCM that comes in pieces of any number of bytes."""

    def __init__(self) -> None:
        self._odd = b""

    @property
    def pending(self) -> int:
        """Bytes that are no whole sample yet: 0 or 1."""
        return len(self._odd)

    def feed(self, data: bytes) -> Samples:
        """The samples that are whole with these bytes."""
        whole = self._odd + data
        end = len(whole) // 2 * 2
        self._odd = whole[end:]
        return pcm_samples(whole[:end])


class Resampler:
    """Turns samples at one rate into samples at another, as they come. Equal rates pass through.

    Args:
        source_rate: samples a second of what comes in.
        rate: samples a second of what goes out.
    """

    def __init__(self, *, source_rate: int, rate: int) -> None:
        for value in (source_rate, rate):
            if value <= 0:
                raise ValueError(f"{value} samples a second: must be positive")
        self._source_rate = source_rate
        self._rate = rate
        self._resampler = AudioResampler(format="s16", layout="mono", rate=rate) if source_rate != rate else None
        self._taken = 0

    def feed(self, samples: Samples) -> Samples:
        """What is ready with these samples; it lags a few milliseconds behind."""
        if self._resampler is None:
            return samples
        # A frame's length is a 32-bit number of bytes to the library, and the filter's buffers are as long as a frame.
        made = [
            out
            for start in range(0, len(samples), _SLICE)
            for out in self._resampler.resample(self._frame(samples[start : start + _SLICE]))
        ]
        return _joined(made)

    def finish(self) -> Samples:
        """What was still held back. Nothing may be fed after it."""
        if self._resampler is None:
            return np.empty(0, dtype=np.int16)
        return _joined(self._resampler.resample(None))

    def _frame(self, samples: Samples) -> AudioFrame:
        frame = mono_frame(samples, rate=self._source_rate, first=self._taken)
        self._taken += len(samples)
        return frame


def mono_frame(samples: Samples, *, rate: int, first: int, sample_format: str = "s16") -> AudioFrame:
    """Samples as the library takes them: one channel, with the place of the first in the stream.

    Raises ValueError for a format other than "s16", "s16p" and "fltp".
    """
    if sample_format in ("s16", "s16p"):
        array = np.ascontiguousarray(samples, dtype=np.int16).reshape(1, -1)
        frame = AudioFrame.from_ndarray(array, format=sample_format, layout="mono")
    elif sample_format == "fltp":
        scaled = (samples.astype(np.float32) / 32768).reshape(1, -1)
        frame = AudioFrame.from_ndarray(scaled, format=sample_format, layout="mono")
    else:
        raise ValueError(f"{sample_format!r} is none of s16, s16p and fltp")
    frame.sample_rate = rate
    frame.pts = first
    frame.time_base = Fraction(1, rate)
    return frame


def _joined(frames: list[AudioFrame]) -> Samples:
    if not frames:
        return np.empty(0, dtype=np.int16)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.int16, copy=False)
