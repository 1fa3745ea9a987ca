"""Live PCM: convert bytes to samples, and resample."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

if TYPE_CHECKING:
    # The decoder process does not import what the backends' interfaces import.
    from enginehouse.engines.voice.backends.base import Samples

_SLICE = 1 << 16


def pcm_samples(data: bytes) -> Samples:
    """Return the samples of 16-bit little-endian PCM. Raises ValueError for an odd number of bytes."""
    if len(data) % 2:
        raise ValueError(f"odd number of bytes: {len(data)}; 16-bit samples have two bytes each")
    return np.frombuffer(data, dtype="<i2").astype(np.int16)


def pcm_bytes(samples: Samples) -> bytes:
    """Return the samples as 16-bit little-endian PCM."""
    return samples.astype("<i2", copy=False).tobytes()


class PcmReader:
    """Incremental reader of 16-bit little-endian PCM, in parts of any number of bytes."""

    def __init__(self) -> None:
        self._odd = b""

    @property
    def pending(self) -> int:
        """Bytes of an incomplete sample: 0 or 1."""
        return len(self._odd)

    def feed(self, data: bytes) -> Samples:
        """Take bytes and return the samples that are complete."""
        whole = self._odd + data
        end = len(whole) // 2 * 2
        self._odd = whole[end:]
        return pcm_samples(whole[:end])


class Resampler:
    """Incremental converter of samples from one rate to another. Equal rates pass through.

    Args:
        source_rate: samples a second of the input.
        rate: samples a second of the output.
    """

    def __init__(self, *, source_rate: int, rate: int) -> None:
        for value in (source_rate, rate):
            if value <= 0:
                raise ValueError(f"invalid sample rate: {value}; must be positive")
        self._source_rate = source_rate
        self._rate = rate
        self._resampler = AudioResampler(format="s16", layout="mono", rate=rate) if source_rate != rate else None
        self._taken = 0

    def feed(self, samples: Samples) -> Samples:
        """Take samples and return those that are ready; the output lags a few milliseconds behind."""
        if self._resampler is None:
            return samples
        # FFmpeg takes a frame's length as a 32-bit number of bytes, and its filter's buffers are as long as a frame.
        made = [
            out
            for start in range(0, len(samples), _SLICE)
            for out in self._resampler.resample(self._frame(samples[start : start + _SLICE]))
        ]
        return _joined(made)

    def finish(self) -> Samples:
        """Return the samples still held back. Nothing may be fed afterwards."""
        if self._resampler is None:
            return np.empty(0, dtype=np.int16)
        return _joined(self._resampler.resample(None))

    def _frame(self, samples: Samples) -> AudioFrame:
        frame = mono_frame(samples, rate=self._source_rate, first=self._taken)
        self._taken += len(samples)
        return frame


def mono_frame(samples: Samples, *, rate: int, first: int, sample_format: str = "s16") -> AudioFrame:
    """Return the samples as an FFmpeg frame of one channel; `first` is the position of its first sample in the stream.

    Raises ValueError for a format other than "s16", "s16p" and "fltp".
    """
    if sample_format in ("s16", "s16p"):
        array = np.ascontiguousarray(samples, dtype=np.int16).reshape(1, -1)
        frame = AudioFrame.from_ndarray(array, format=sample_format, layout="mono")
    elif sample_format == "fltp":
        scaled = (samples.astype(np.float32) / 32768).reshape(1, -1)
        frame = AudioFrame.from_ndarray(scaled, format=sample_format, layout="mono")
    else:
        raise ValueError(f"unsupported sample format: {sample_format!r}; use s16, s16p or fltp")
    frame.sample_rate = rate
    frame.pts = first
    frame.time_base = Fraction(1, rate)
    return frame


def _joined(frames: list[AudioFrame]) -> Samples:
    if not frames:
        return np.empty(0, dtype=np.int16)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.int16, copy=False)
