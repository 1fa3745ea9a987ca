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
        self._path: _Mixer | _Averager | None = None

    def feed(self, frame: av.AudioFrame) -> Iterator[Samples]:
        """Convert a frame and yield the samples that are ready; empty parts are left out."""
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._path is None or form != self._form:
            yield from self.finish()
            mixable = _mixable(frame.layout.name, frame.layout.nb_channels)
            self._path = _Mixer(rate=self._rate) if mixable else _Averager(like=frame, rate=self._rate)
            self._form = form
        yield from filter(len, self._path.feed(frame))

    def finish(self) -> Iterator[Samples]:
        """Yield the samples that were held back."""
        if self._path is not None:
            yield from filter(len, self._path.finish())
        self._path = None


class _Mixer:
    """Mixes channels by their roles: a centre counts more than a rear speaker."""

    def __init__(self, *, rate: int) -> None:
        self._resampler = AudioResampler(format="s16", layout="mono", rate=rate)

    def feed(self, frame: av.AudioFrame) -> Iterator[Samples]:
        yield from map(_flat, self._resampler.resample(frame))

    def finish(self) -> Iterator[Samples]:
        yield from map(_flat, self._resampler.resample(None))


class _Averager:
    """Averages all channels, for layouts that FFmpeg cannot mix."""

    def __init__(self, *, like: av.AudioFrame, rate: int) -> None:
        self._packer = AudioResampler(format="flt", layout=like.layout.name, rate=like.sample_rate)
        self._resampler = Resampler(source_rate=like.sample_rate, rate=rate)

    def feed(self, frame: av.AudioFrame) -> Iterator[Samples]:
        for packed in self._packer.resample(frame):
            channels = packed.to_ndarray().reshape(-1, packed.layout.nb_channels)
            scaled = np.nan_to_num(channels.mean(axis=1) * _SIXTEEN_BITS, nan=0.0)
            yield self._resampler.feed(np.clip(np.rint(scaled), -32768, 32767).astype(np.int16))

    def finish(self) -> Iterator[Samples]:
        yield self._resampler.finish()


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


def _mixable(layout: str, channels: int) -> bool:
    """Return whether FFmpeg can mix such channels down; it refuses most unnamed layouts, and some named ones."""
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 64 * channels), dtype=np.int16), format="s16", layout=layout)
    silence.sample_rate = 48_000
    try:
        AudioResampler(format="s16", layout="mono", rate=48_000).resample(silence)
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError):
        return False
    return True


def _flat(frame: av.AudioFrame) -> Samples:
    return frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
