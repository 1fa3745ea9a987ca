"""Split recordings into phrases at pauses."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator

FRAME_MS = 30
"""The length of a frame of voice activity detection."""

# Frames before a phrase that belong to it: soft beginnings are not distinguished from noise.
_LEAD_FRAMES = 12
# This many speech frames in a row begin a phrase; fewer are a click, or noise that the detector has yet to adapt to.
_BEGIN_FRAMES = 5
# The pause that ends a phrase, by the phrase's length: the longer the phrase, the shorter the pause. A phrase of the
# last length ends at once. In milliseconds.
_PAUSES_BY_LENGTH = ((8_000, 510), (16_000, 210), (30_000, 60))


@dataclasses.dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase, with some silence around it."""

    start_ms: int
    """Its beginning in the recording."""
    pcm: bytes
    """Its samples."""


class PhraseSplitter:
    """Splitter of one recording into phrases.

    Args:
        is_speech: returns whether a frame of `FRAME_MS` is speech.
        frame_bytes: the length of a frame.
    """

    def __init__(self, *, is_speech: Callable[[bytes], bool], frame_bytes: int) -> None:
        self._is_speech = is_speech
        self._frame_bytes = frame_bytes
        self._rest = b""
        self._frames = 0
        self._lead: deque[bytes] = deque(maxlen=_LEAD_FRAMES)
        self._voiced = 0
        self._phrase: list[bytes] = []
        self._start_ms = 0
        self._silent = 0

    def feed(self, pcm: bytes) -> Iterator[Phrase]:
        """Take the next samples; yield the phrases that end in them."""
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % self._frame_bytes
        self._rest = pcm[whole:]
        for start in range(0, whole, self._frame_bytes):
            if self._take(pcm[start : start + self._frame_bytes]):
                yield self._end()

    def finish(self) -> Iterator[Phrase]:
        """Yield the phrase at the recording's end, if there is one."""
        if self._phrase:
            self._phrase.append(self._rest)
            yield self._end()

    def _take(self, frame: bytes) -> bool:
        """Return whether a phrase ends with this frame."""
        self._frames += 1
        speech = self._is_speech(frame)
        if not self._phrase:
            self._lead.append(frame)
            self._voiced = self._voiced + 1 if speech else 0
            if self._voiced >= _BEGIN_FRAMES:
                self._phrase = list(self._lead)
                self._start_ms = (self._frames - len(self._phrase)) * FRAME_MS
                self._lead.clear()
                self._silent = 0
            return False
        self._phrase.append(frame)
        self._silent = 0 if speech else self._silent + 1
        return self._silent * FRAME_MS >= self._required_pause_ms()

    def _required_pause_ms(self) -> int:
        length = len(self._phrase) * FRAME_MS
        return next((pause for max_length, pause in _PAUSES_BY_LENGTH if length < max_length), 0)

    def _end(self) -> Phrase:
        phrase = Phrase(self._start_ms, b"".join(self._phrase))
        self._phrase = []
        self._voiced = 0
        return phrase
