"""What the parent and a PocketSphinx child say to each other: kinds of frames, and what is in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

RECORDING = 1
"""To the child: a recording begins."""
RECORDING_AUDIO = 2
"""To the child: the recording's next samples, 16 bits, little-endian. Answered by SAID for each phrase that ended."""
RECORDING_END = 3
"""To the child: the recording is over. Answered by SAID for the phrase that was still going on, if any."""
UTTERANCE = 4
"""To the child: an utterance begins."""
UTTERANCE_AUDIO = 5
"""To the child: the utterance's next samples."""
UTTERANCE_AUDIO_INTERIM = 6
"""As FEED. Answered by SAID where something is understood that was not said before; it has no confidences."""
UTTERANCE_END = 7
"""To the child: the utterance is over. Answered by SAID where something was understood."""
HYPOTHESIS = 8
"""From the child: `Hypothesis`."""


@dataclasses.dataclass(frozen=True, slots=True)
class HypothesisWord:
    """A word."""

    word: str
    """It."""
    start_ms: int
    """When it begins, from the first sample of the recording or utterance."""
    end_ms: int
    """When it ends."""
    confidence: float
    """0 to 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hypothesis:
    """What was understood: at least one word."""

    words: Sequence[HypothesisWord]
    """In order."""

    def encode(self) -> bytes:
        """The payload of a SAID frame."""
        return json.dumps([dataclasses.astuple(word) for word in self.words]).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Hypothesis:
        """Read what `encode` wrote."""
        return cls([HypothesisWord(*word) for word in json.loads(payload)])
