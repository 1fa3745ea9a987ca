"""The frames between the parent and an espeak-ng child: kinds and payloads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

SPEAK = 1
"""To the child: a `Job`. Answered with AUDIO, and with FAILED at the end after a failure."""
LIST_VOICES = 2
"""To the child, without a payload. Answered with one VOICES."""
AUDIO = 3
"""From the child: samples, 16 bits, little-endian."""
FAILED = 4
"""From the child: the failure, in words."""
VOICES = 5
"""From the child: an `Inventory`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One utterance, in espeak-ng's own units."""

    text: str
    """The text."""
    voice: str
    """A language's file, optionally with a variant, such as "gmw/en-US+f3"."""
    rate: int
    """Words a minute, 80 to 449."""
    pitch: int
    """0 to 99; 50 is the voice's own."""
    pitch_range: int
    """0 to 99; 50 is the voice's own."""
    volume: int
    """0 to 200; 100 is the voice's own."""
    tempo: float
    """Factor of the speed, on top of `rate`."""
    spell: bool
    """True to spell it letter by letter."""

    def encode(self) -> bytes:
        """Return the payload of a SPEAK frame."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Job:
        """Parse the output of `encode`."""
        return cls(**json.loads(payload))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LanguageVoice:
    """A language in espeak-ng's list."""

    file: str
    """Its file, such as "gmw/en-US"."""
    name: str
    """The name for people."""
    tags: Sequence[tuple[int, str]]
    """Language tags with priorities, its own first; the lower the priority, the better it suits that language."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A voice variant, which can be combined with every language."""

    file: str
    """Its file, such as "f3" or "Mr serious"."""
    name: str
    """Its own name."""
    gender: str
    """"female", "male", or empty if the file has none."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The voices of an installed espeak-ng."""

    sample_rate: int
    """Samples a second."""
    languages: Sequence[LanguageVoice]
    """In no particular order."""
    variants: Sequence[Variant]
    """In no particular order."""

    def encode(self) -> bytes:
        """Return the payload of a VOICES frame."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Inventory:
        """Parse the output of `encode`."""
        read = json.loads(payload)
        return cls(
            sample_rate=read["sample_rate"],
            languages=[
                LanguageVoice(
                    file=entry["file"],
                    name=entry["name"],
                    tags=[(int(priority), str(tag)) for priority, tag in entry["tags"]],
                )
                for entry in read["languages"]
            ],
            variants=[Variant(**entry) for entry in read["variants"]],
        )
