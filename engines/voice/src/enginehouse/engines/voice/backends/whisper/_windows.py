"""Cut a recording into windows of at most 30 seconds for Whisper, at pauses."""

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
"""The maximum length of a window in samples."""

_FRAME = RATE * 30 // 1000
_FRAMES = MAX_WINDOW_SAMPLES // _FRAME
# Frames kept before and after speech, so that no consonant is lost.
_MARGIN = 10
# A pause of this many frames is as good as a longer one: the later the cut, the more context for the model.
_MAX_PAUSE_FRAMES = 10
# Windows are not cut before this frame, unless there is no other pause.
_MIN_CUT_FRAME = _FRAMES // 3
# Without a pause, the window is cut at the quietest of this many last frames.
_TAIL_FRAMES = 5 * RATE // _FRAME
# Aggressiveness of the voice activity detector, 0 (least) to 3.
_VAD_MODE = 1


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a recording."""

    start: int
    """The index of its first sample in the recording."""
    samples: Samples
    """Its samples, 16,000 a second."""


class Windows:
    """Cutter of one recording, incrementally.

    Args:
        skip_silence: whether frames without speech are skipped; otherwise the windows cover the whole recording.
    """

    def __init__(self, *, skip_silence: bool) -> None:
        self._skip_silence = skip_silence
        self._vad = webrtcvad.Vad(_VAD_MODE)
        self._buffer: Samples = np.empty(MAX_WINDOW_SAMPLES + _FRAME, np.int16)
        self._length = 0
        # The index of the first held sample in the recording, and whether each held frame is speech.
        self._start = 0
        self._speech: list[bool] = []

    def push(self, samples: Samples) -> Iterator[Window]:
        """Take the next samples, and yield the windows that become full. Iterate to the end."""
        for begin in range(0, len(samples), _FRAME):
            yield from self._add(samples[begin : begin + _FRAME])

    def so_far(self) -> Window | None:
        """Return the held samples as one window, without taking them; None for no speech."""
        return self._window(len(self._speech) + 1)

    def finish(self) -> Iterator[Window]:
        """Yield the rest at the recording's end."""
        yield from self._take(len(self._speech) + 1)

    @property
    def _held(self) -> Samples:
        return self._buffer[: self._length]

    def _add(self, samples: Samples) -> Iterator[Window]:
        """Take at most a frame of samples, which completes at most one frame."""
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
        """Return the number of frames after which to cut the full window."""
        pauses = []
        begin = 0
        for speech, run in groupby(self._speech):
            length = len(list(run))
            if not speech and begin + length // 2 >= _MIN_CUT_FRAME:
                pauses.append((min(length, _MAX_PAUSE_FRAMES), begin + length // 2))
            begin += length
        if pauses:
            return max(pauses)[1]
        frames = self._held[(_FRAMES - _TAIL_FRAMES) * _FRAME : _FRAMES * _FRAME].reshape(-1, _FRAME).astype(np.float64)
        return _FRAMES - _TAIL_FRAMES + int(np.square(frames).mean(axis=1).argmin())

    def _take(self, frames: int) -> Iterator[Window]:
        """Remove so many frames (or all, if there are fewer), and yield their window if it has speech."""
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
            # The incomplete frame at the recording's end belongs to the preceding frame.
            end = frames if last == len(speech) else min(frames, last + _MARGIN)
        # A copy: the buffer is reused.
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
    """Return the index of the first speech frame; the number of frames if there is none."""
    return next((index for index, is_speech in enumerate(speech) if is_speech), len(speech))
