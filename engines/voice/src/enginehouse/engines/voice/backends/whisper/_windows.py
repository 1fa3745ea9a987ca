"""Cuts a recording into windows that Whisper hears in one go: at most 30 seconds, cut where somebody pauses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import webrtcvad

from enginehouse.engines.voice.backends.base import Samples

RATE = 16_000
"""Samples a second."""
MAX_WINDOW_SAMPLES = 30 * RATE
"""The most samples of a window."""

_FRAME = RATE * 30 // 1000
_FRAMES = MAX_WINDOW_SAMPLES // _FRAME
# What is kept before and after speech, so that no consonant is lost.
_MARGIN = 10
# A pause of this many frames is as good as a longer one: the later it is, the more the model hears at once.
_PAUSE = 10
# Windows are not cut before this, unless they must.
_EARLIEST = _FRAMES // 3
# Where nobody pauses, the quietest place of this many last frames.
_LAST = 5 * RATE // _FRAME
# How readily a sound passes for speech, 0 (most) to 3.
_STRICTNESS = 1


@dataclass(frozen=True, slots=True)
class Window:
    """Part of a recording."""

    start: int
    """Its first sample's number in the recording."""
    samples: Samples
    """Its samples, 16,000 a second."""


class Windows:
    """Cuts one recording as it comes.

    Args:
        skip_silence: leave out what is no speech; without, the windows are the recording, one after the other.
    """

    def __init__(self, *, skip_silence: bool) -> None:
        self._skip_silence = skip_silence
        self._vad = webrtcvad.Vad(_STRICTNESS)
        self._buffer: Samples = np.empty(MAX_WINDOW_SAMPLES + _FRAME, np.int16)
        self._length = 0
        # The recording's number of the first sample held; whether each whole frame held is speech.
        self._start = 0
        self._speech: list[bool] = []

    def push(self, samples: Samples) -> Iterator[Window]:
        """Take the next samples, and yield the windows that are full with them. Iterate to the end."""
        for begin in range(0, len(samples), _FRAME):
            yield from self._add(samples[begin : begin + _FRAME])

    def so_far(self) -> Window | None:
        """What is held, as one window; it stays held. None for no speech."""
        return self._window(len(self._speech) + 1)

    def finish(self) -> Iterator[Window]:
        """Yield what is left at the recording's end."""
        yield from self._take(len(self._speech) + 1)

    @property
    def _held(self) -> Samples:
        return self._buffer[: self._length]

    def _add(self, samples: Samples) -> Iterator[Window]:
        """Take at most a frame of samples; with them, one frame more may be whole."""
        self._buffer[self._length : self._length + len(samples)] = samples
        self._length += len(samples)
        begin = len(self._speech) * _FRAME
        if self._length < begin + _FRAME:
            return
        frame = self._buffer[begin : begin + _FRAME]
        self._speech.append(self._vad.is_speech(frame.tobytes(), RATE))
        if len(self._speech) == _FRAMES:
            yield from self._take(self._cut())
        elif self._skip_silence and len(self._speech) > _MARGIN and not any(self._speech):
            self._drop(1)

    def _cut(self) -> int:
        """After how many frames the full window held is cut best."""
        pauses = []
        begin = 0
        for speech, run in groupby(self._speech):
            length = len(list(run))
            if not speech and begin + length // 2 >= _EARLIEST:
                pauses.append((min(length, _PAUSE), begin + length // 2))
            begin += length
        if pauses:
            return max(pauses)[1]
        frames = self._held[(_FRAMES - _LAST) * _FRAME : _FRAMES * _FRAME].reshape(-1, _FRAME).astype(np.float64)
        return _FRAMES - _LAST + int(np.square(frames).mean(axis=1).argmin())

    def _take(self, frames: int) -> Iterator[Window]:
        """Take so many frames away (or all, where there are fewer), and yield what of them is to be heard."""
        if window := self._window(frames):
            yield window
        self._drop(frames)

    def _window(self, frames: int) -> Window | None:
        speech = self._speech[:frames]
        begin, end = 0, frames
        if self._skip_silence:
            if not any(speech):
                return None
            begin = max(0, _first(speech) - _MARGIN)
            last = len(speech) - _first(speech[::-1])
            # What is less than a frame at the recording's end belongs to the frame before.
            end = frames if last == len(speech) else min(frames, last + _MARGIN)
        # A copy: the buffer goes on to be filled.
        samples = self._held[begin * _FRAME : end * _FRAME].copy()
        return Window(self._start + begin * _FRAME, samples) if len(samples) else None

    def _drop(self, frames: int) -> None:
        dropped = min(frames * _FRAME, self._length)
        rest = self._held[dropped:].copy()
        self._start += dropped
        self._length = len(rest)
        self._held[:] = rest
        self._speech = self._speech[frames:]


def _first(speech: list[bool]) -> int:
    """The first frame that is speech; their number where none is."""
    return next((index for index, spoken in enumerate(speech) if spoken), len(speech))
