"""The frames between the parent and a Piper child: kinds and payloads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

PHONEMIZE = 1
"""To the child: a text. Answered with one PHONEMES."""
SPEAK = 2
"""To the child: a `ClauseJob`. Answered with one AUDIO or one FAILED."""
PHONEMES = 3
"""From the child: the phonemes of the text, sentence by sentence; see `decode_phonemes`."""
AUDIO = 4
"""From the child: samples, 16 bits, little-endian."""
FAILED = 5
"""From the child: the failure, in words."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClauseJob:
    """Phonemes to speak in one go."""

    phonemes: Sequence[str]
    """The phonemes, with the marks and spaces between them."""
    speaker: int
    """The speaker's number in the voice."""
    length_scale: float
    """Factor of every phoneme's length."""
    noise_scale: float
    """Variation of the sound; 0 is none."""
    noise_w: float
    """Variation of the phonemes' lengths; 0 is none."""
    tempo: float
    """Factor of the speed, on top of `length_scale`."""
    pitch_factor: float
    """Factor of all frequencies. It divides the audio's length, which the others make up for."""

    def encode(self) -> bytes:
        """Return the payload of a SPEAK frame."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> ClauseJob:
        """Parse the output of `encode`."""
        return cls(**json.loads(payload))


def encode_phonemes(sentences: Sequence[Sequence[str]]) -> bytes:
    """Return the payload of a PHONEMES frame."""
    return json.dumps(sentences).encode()


def decode_phonemes(payload: bytes) -> Sequence[Sequence[str]]:
    """Parse the output of `encode_phonemes`."""
    return [[str(phoneme) for phoneme in sentence] for sentence in json.loads(payload)]
