"""What the parent and an espeak-ng child say to each other: kinds of frames, and what is in them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

SAY = 1
"""To the child: a `Job`. It answers with AUDIO, and with FAILED at the end if there was a failure."""
LIST = 2
"""To the child, without a payload. It answers with one LISTED."""
AUDIO = 3
"""From the child: samples, 16 bits, little-endian."""
FAILED = 4
"""From the child: what went wrong, in words."""
LISTED = 5
"""From the child: an `Inventory`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One utterance, in espeak-ng's own units."""

    text: str
    """What is said."""
    voice: str
    """A language's file and perhaps a variant, such as "gmw/en-US+f3"."""
    rate: int
    """Words a minute, 80 to 449."""
    pitch: int
    """0 to 99; 50 is the voice's own."""
    pitch_range: int
    """0 to 99; 50 is the voice's own."""
    volume: int
    """0 to 200; 100 is the voice's own."""
    tempo: float
    """Times as fast, on top of `rate`."""
    spell: bool
    """Letter by letter."""

    def encode(self) -> bytes:
        """The payload of a SAY frame."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Job:
        """Read what `encode` wrote."""
        return cls(**json.loads(payload))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LanguageVoice:
    """A language as espeak-ng lists it."""

    file: str
    """Its file, such as "gmw/en-US"."""
    name: str
    """What people call it."""
    tags: Sequence[tuple[int, str]]
    """The languages that it is for, its own first; the lower the number, the better it is for that language."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to speak, which goes with every language."""

    file: str
    """Its file, such as "f3" or "Mr serious"."""
    name: str
    """What it calls itself."""
    gender: str
    """"female", "male", or empty where the file does not say."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a copy of espeak-ng can speak with."""

    sample_rate: int
    """Samples a second."""
    languages: Sequence[LanguageVoice]
    """In no particular order."""
    variants: Sequence[Variant]
    """In no particular order."""

    def encode(self) -> bytes:
        """The payload of a LISTED frame."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Inventory:
        """Read what `encode` wrote."""
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
