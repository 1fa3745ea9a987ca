"""The frames between the parent and a PocketSphinx child: kinds and payloads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

RECORDING = 1
"""To the child: a recording begins."""
RECORDING_AUDIO = 2
"""To the child: the recording's next samples, 16 bits, little-endian. Answered by HYPOTHESIS for each phrase that
ended."""
RECORDING_END = 3
"""To the child: the recording is over. Answered by HYPOTHESIS for the last phrase, if any."""
UTTERANCE = 4
"""To the child: an utterance begins."""
UTTERANCE_AUDIO = 5
"""To the child: the utterance's next samples."""
UTTERANCE_AUDIO_INTERIM = 6
"""As UTTERANCE_AUDIO. Answered by HYPOTHESIS if the interim result has changed; it has no confidences."""
UTTERANCE_END = 7
"""To the child: the utterance is over. Answered by HYPOTHESIS if something was recognized."""
HYPOTHESIS = 8
"""From the child: `Hypothesis`."""


@dataclasses.dataclass(frozen=True, slots=True)
class HypothesisWord:
    """A recognized word."""

    word: str
    """The word."""
    start_ms: int
    """Its beginning, in milliseconds from the first sample of the recording or utterance."""
    end_ms: int
    """Its end, in milliseconds from the same sample."""
    confidence: float
    """0 to 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hypothesis:
    """A recognition result of at least one word."""

    words: Sequence[HypothesisWord]
    """The words, in order."""

    def encode(self) -> bytes:
        """Return the payload of a HYPOTHESIS frame."""
        return json.dumps([dataclasses.astuple(word) for word in self.words]).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Hypothesis:
        """Parse the output of `encode`."""
        return cls([HypothesisWord(*word) for word in json.loads(payload)])
