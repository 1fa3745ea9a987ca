"""What a text is said with, and what becomes of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from enginehouse.engines.voice.backends.base import Prosody, Utterance

SILENT_DB = -100.0
"""The volume of what is not to be heard: every 16-bit sample becomes 0."""
MIN_VOLUME_DB = -40.0
"""The softest that can be heard."""
MAX_VOLUME_DB = 12.0
"""The loudest."""


class Emotion(enum.Enum):
    """How a voice feels."""

    NEUTRAL = "neutral"
    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"
    EXCITED = "excited"
    TENDER = "tender"
    FEARFUL = "fearful"


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What a text is said with."""

    voice: str = ""
    """A voice's id; empty takes the model's own for each language."""
    language: str = ""
    """The text's language as a BCP 47 tag; empty detects it by the script, sentence by sentence."""
    voices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The languages of the voices that are known, by voice id, each voice's own first. A voice that is not here is
    taken to speak whatever it is given."""
    prosody: Prosody = field(default_factory=Prosody)
    """How it is said."""
    volume_db: float = 0.0
    """Decibels louder or softer; -40 to 12."""
    emotion: Emotion = Emotion.NEUTRAL
    """How it feels."""
    lexicon: Sequence[tuple[str, str]] = ()
    """Words as they are written, and what is said instead. Of two entries for one word the first counts."""
    verbatim: bool = False
    """Leave numbers, dates, symbols and abbreviations to the voice."""
    max_length: int = 300
    """The most characters of an utterance; 16 to 10,000."""

    def __post_init__(self) -> None:
        """Raise ValueError where `max_length` is out of its range."""
        if not 16 <= self.max_length <= 10_000:
            raise ValueError(f"max_length is {self.max_length}: an utterance has room for 16 to 10,000 characters")


@dataclass(frozen=True, slots=True)
class Say:
    """Something that is said."""

    utterance: Utterance
    """What, and how. Its `clone` is never set here."""
    volume_db: float = 0.0
    """Decibels louder or softer, -40 to 12; `SILENT_DB` for what is not to be heard."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence."""

    milliseconds: int
    """How long; above 0."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the speech that an SSML document names."""

    name: str
    """Its name."""


Item: TypeAlias = Say | Pause | Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One sentence or more, with what is said for it."""

    first_character: int
    """Where it begins in the text without tags, in Unicode code points."""
    characters: int
    """The number of it has."""
    items: Sequence[Item]
    """What is said, in order; empty where there is nothing to say, such as for emoji alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechPlan:
    """What a whole text becomes. Equal texts with equal controls have equal plans."""

    chunks: Sequence[Chunk]
    """They cover the text without a gap: each begins where the one before ends."""
    characters: int
    """The number of Unicode code points the text has without its tags."""
