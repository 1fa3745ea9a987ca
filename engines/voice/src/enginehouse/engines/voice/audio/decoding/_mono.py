"""Convert decoded frames of any format to one channel of 16 bits at one rate.

Planes of frames with eight channels or more are never touched: PyAV (18.1) counts one plane too many there and reads
memory outside the frame, which crashes the process. FFmpeg packs such frames first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import av
import numpy as np
from av.audio.resampler import AudioResampler

from enginehouse.engines.voice.audio._pcm import Resampler
from enginehouse.engines.voice.audio.decoding._mixdown import Mixdown

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

# Samples of a frame that are converted at once: a minute at the lowest accepted rate.
_SLICE = 1 << 16
_SIXTEEN_BITS = 32768.0


class MonoConverter:
    """Mixes down and resamples frames whose format may change in the middle of a file.

    Args:
        rate: samples a second of the output.
    """

    def __init__(self, *, rate: int) -> None:
        self._rate = rate
        self._form: tuple[str, str, int] | None = None
        self._path: _Single | _Mixed | None = None

    def feed(self, frame: av.AudioFrame) -> Iterator[Samples]:
        """Convert a frame and yield the samples that are ready; empty parts are left out."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._path is None or form != self._form:
            yield from self.finish()
            single = frame.layout.nb_channels == 1
            self._path = _Single(rate=self._rate) if single else _Mixed(like=frame, rate=self._rate)
            self._form = form
        yield from filter(len, self._path.feed(frame))

    def finish(self) -> Iterator[Samples]:
        """Yield the samples that were held back."""
        if self._path is not None:
            yield from filter(len, self._path.finish())
        self._path = None


class _Single:
    """Converts one channel."""

    def __init__(self, *, rate: int) -> None:
        self._resampler = AudioResampler(format="s16", layout="mono", rate=rate)

    def feed(self, frame: av.AudioFrame) -> Iterator[Samples]:
        yield from map(_flat, self._resampler.resample(frame))

    def finish(self) -> Iterator[Samples]:
        yield from map(_flat, self._resampler.resample(None))


class _Mixed:
    """Mixes several channels by their roles, a centre counts more than a rear speaker, or evenly where FFmpeg knows no
    roles.
    """

    def __init__(self, *, like: av.AudioFrame, rate: int) -> None:
        layout = like.layout
        self._packer = AudioResampler(format="flt", layout=layout.name, rate=like.sample_rate)
        weights = _weights(layout.name, layout.nb_channels)
        self._mixdown = Mixdown(weights=weights, sample_rate=like.sample_rate)
        self._resampler = Resampler(source_rate=like.sample_rate, rate=rate)

    def feed(self, frame: av.AudioFrame) -> Iterator[Samples]:
        for packed in self._packer.resample(frame):
            channels = packed.to_ndarray().reshape(-1, packed.layout.nb_channels).astype(np.float32, copy=False)
            yield self._resampler.feed(_sixteen_bits(self._mixdown.feed(channels)))

    def finish(self) -> Iterator[Samples]:
        yield self._resampler.feed(_sixteen_bits(self._mixdown.finish()))
        yield self._resampler.finish()


def _sixteen_bits(samples: np.typing.NDArray[np.float32]) -> Samples:
    whole: Samples = np.clip(np.rint(samples * _SIXTEEN_BITS), -32768, 32767).astype(np.int16)
    return whole


def parts(frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
    """Yield the frame in parts small enough to convert in little memory, without timestamps."""
    # Timestamps are the file's claim; only the order of the samples counts here.
    frame.pts = None
    if frame.samples <= _SLICE:
        yield frame
        return
    layout, channels = frame.layout.name, frame.layout.nb_channels
    packer = AudioResampler(format="flt", layout=layout, rate=frame.sample_rate)
    for packed in packer.resample(frame):
        array = packed.to_ndarray().reshape(-1).astype(np.float32, copy=False)
        for start in range(0, len(array), _SLICE * channels):
            part = array[start : start + _SLICE * channels].reshape(1, -1)
            smaller = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
            smaller.sample_rate = frame.sample_rate
            yield smaller


def _weights(layout: str, channels: int) -> np.typing.NDArray[np.float32]:
    """Return how much of each channel is in FFmpeg's mix to one; evenly where it refuses, as most unnamed layouts, and
    some named ones.
    """
    even = np.full(channels, 1 / channels, dtype=np.float32)
    # The first sample is of the first channel alone, and so on: their mix is the weights.
    single = np.eye(channels, dtype=np.float32).reshape(1, -1)
    try:
        frame = av.AudioFrame.from_ndarray(single, format="flt", layout=layout)
        frame.sample_rate = 48_000
        mixed = AudioResampler(format="flt", layout="mono", rate=48_000).resample(frame)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError):
        return even
    weights = np.concatenate([part.to_ndarray().reshape(-1) for part in mixed]).astype(np.float32)
    total = float(np.abs(weights).sum())
    return weights / total if len(weights) == channels and total > 0 else even


def _flat(frame: av.AudioFrame) -> Samples:
    return frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
