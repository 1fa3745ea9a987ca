"""Endpointing: find the utterances in live audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from enginehouse.engines.voice.audio._vad import FRAME_MS, Vad, quietest_place

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

_LEAD_IN_MS = 200
# Speech begins when this many of the latest frames are speech: a click is shorter.
_START_FRAMES = 5
_START_WINDOW = 10
# A shorter sound in a pause does not prolong it.
_RESUME_FRAMES = 2


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The beginning of an utterance."""

    at_ms: int
    """The time, in milliseconds from the first sample."""


@dataclass(frozen=True, slots=True, eq=False)
class SpeechEnded:
    """The end of an utterance: by a pause, by its maximum length, or by the audio's end."""

    at_ms: int
    """The time at which the speech ended, in milliseconds from the first sample."""
    samples: Samples
    """The utterance, with a little of what came before and after it."""
    first_ms: int
    """The time of the first of `samples`, in milliseconds from the first sample of the audio."""
    cut: bool
    """True if the speech continues: the next utterance begins where this one ends."""


Event: TypeAlias = SpeechStarted | SpeechEnded


class Endpointer:
    """A state machine: samples in, events out. It keeps the current utterance, and nothing older.

    Args:
        sample_rate: 8,000, 16,000, 32,000 or 48,000 samples a second.
        end_silence_ms: the pause that ends an utterance, 100 or more.
        max_utterance_s: the maximum length; a longer utterance is cut at the quietest place of its last third.
    """

    def __init__(self, *, sample_rate: int, end_silence_ms: int = 700, max_utterance_s: float = 30) -> None:
        self._vad = Vad(sample_rate=sample_rate)
        if end_silence_ms < 100:
            raise ValueError(f"a pause of {end_silence_ms} ms is too short to end an utterance; use 100 or more")
        if max_utterance_s < 1:
            raise ValueError(f"utterances of at most {max_utterance_s:g} s are too short; use 1 or more")
        self._end_frames = -(-end_silence_ms // FRAME_MS)
        self._tail_frames = min(_LEAD_IN_MS // FRAME_MS, self._end_frames // 2)
        self._max_utterance_frames = int(max_utterance_s * 1000) // FRAME_MS
        self._rest: Samples = np.empty(0, dtype=np.int16)
        # Frames seen so far.
        self._seen = 0
        # The possible beginning of an utterance: frames, levels, and whether each is speech.
        self._recent: deque[tuple[Samples, float, bool]] = deque(maxlen=_START_WINDOW + _LEAD_IN_MS // FRAME_MS)
        # The current utterance; empty between utterances.
        self._frames: list[Samples] = []
        self._levels: list[float] = []
        self._first = 0
        # The frame after the last speech frame, and the number of consecutive speech frames.
        self._speech_end = 0
        self._run = 0

    @property
    def speaking(self) -> bool:
        """True during an utterance."""
        return bool(self._frames)

    @property
    def utterance(self) -> Samples:
        """The samples of the current utterance so far; empty between utterances."""
        return np.concatenate(self._frames) if self._frames else np.empty(0, dtype=np.int16)

    @property
    def utterance_first_ms(self) -> int:
        """The time of the first sample of `utterance`, in milliseconds."""
        return self._first * FRAME_MS

    def feed(self, samples: Samples) -> Sequence[Event]:
        """Process samples and return the events in them."""
        events: list[Event] = []
        whole = np.concatenate([self._rest, samples])
        size = self._vad.frame_samples
        end = len(whole) // size * size
        # A copy, so that a part does not keep the whole input alive.
        self._rest = whole[end:].copy()
        for start in range(0, end, size):
            self._frame(whole[start : start + size], events)
        return events

    def finish(self) -> Sequence[Event]:
        """Return the events at the audio's end. Nothing may be fed afterwards."""
        if not self.speaking:
            return []
        if self._seen - self._speech_end <= self._tail_frames:
            # The incomplete last frame may hold the end of a word.
            self._frames.append(self._rest)
            self._levels.append(0.0)
            self._seen += 1
        return [self._end()]

    def _frame(self, samples: Samples, events: list[Event]) -> None:
        speech, level = self._vad.frame(samples)
        self._seen += 1
        if not self.speaking:
            self._recent.append((samples, level, speech))
            window = list(self._recent)[-_START_WINDOW:]
            if sum(voiced for _, _, voiced in window) >= _START_FRAMES:
                events.append(self._begin())
            return
        self._frames.append(samples)
        self._levels.append(level)
        self._run = self._run + 1 if speech else 0
        if self._run >= _RESUME_FRAMES:
            self._speech_end = self._seen
        if self._seen - self._speech_end >= self._end_frames:
            events.append(self._end())
        elif len(self._frames) >= self._max_utterance_frames:
            events += self._cut()

    def _begin(self) -> SpeechStarted:
        recent = list(self._recent)
        self._recent.clear()
        window = max(0, len(recent) - _START_WINDOW)
        first_speech = next(index for index in range(window, len(recent)) if recent[index][2])
        first = max(0, first_speech - _LEAD_IN_MS // FRAME_MS)
        self._frames = [samples for samples, _, _ in recent[first:]]
        self._levels = [level for _, level, _ in recent[first:]]
        self._first = self._seen - len(self._frames)
        self._speech_end = self._seen
        self._run = 0
        return SpeechStarted((self._seen - len(recent) + first_speech) * FRAME_MS)

    def _end(self) -> SpeechEnded:
        """End the utterance a little after its last speech; later frames may lead into the next utterance."""
        count = min(len(self._frames), self._speech_end - self._first + self._tail_frames)
        samples = np.concatenate(self._frames[:count])
        event = SpeechEnded(self._speech_end * FRAME_MS, samples, self._first * FRAME_MS, cut=False)
        after = zip(self._frames[count:], self._levels[count:], strict=True)
        self._recent.extend((frame, level, False) for frame, level in after)
        self._frames, self._levels = [], []
        return event

    def _cut(self) -> list[Event]:
        place = quietest_place(self._levels, len(self._levels) * 2 // 3)
        if self._first + place >= self._speech_end:
            # The speech is over; only the pause is not long enough yet.
            return [self._end()]
        at_ms = (self._first + place) * FRAME_MS
        samples = np.concatenate(self._frames[:place])
        events: list[Event] = [
            SpeechEnded(at_ms, samples, self._first * FRAME_MS, cut=True),
            SpeechStarted(at_ms),
        ]
        self._frames, self._levels = self._frames[place:], self._levels[place:]
        self._first += place
        return events
