"""Cuts recordings into phrases at their pauses."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator

FRAME_MS = 30
"""What is judged at once, to be speech or not."""

# What of the time before a phrase belongs to it: soft beginnings are not told from noise.
_LEAD_FRAMES = 12
# So many in a row begin a phrase; less is a click, or noise that the judge has yet to get used to.
_BEGIN_FRAMES = 5
# How long a pause ends a phrase that is so long already: the longer the phrase, the shorter the pause. A phrase of the
# last length ends at once.
_PAUSES_BY_LENGTH = ((8_000, 510), (16_000, 210), (30_000, 60))


@dataclasses.dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase, with some silence around it."""

    start_ms: int
    """Where it begins in the recording."""
    pcm: bytes
    """Its samples."""


class PhraseSplitter:
    """The phrases of one recording.

    Args:
        is_speech: whether a frame of `FRAME_MS` is speech.
        frame_bytes: how long a frame is.
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
        """Yield the phrase that goes to the recording's end, if there is one."""
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
