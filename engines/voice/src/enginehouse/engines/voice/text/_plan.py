"""The controls of a text, and the plan of its speech."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from enginehouse.engines.voice.backends.base import Prosody, Utterance

SILENT_DB = -100.0
"""The volume of silence: every 16-bit sample becomes 0."""
MIN_VOLUME_DB = -40.0
"""The lowest audible volume."""
MAX_VOLUME_DB = 12.0
"""The highest volume."""


class UnknownVoice(ValueError):
    """A name that means no voice; the message has the fault and the fix."""


def _as_named(name: str) -> str:
    return name


class Emotion(enum.Enum):
    """The emotion of a voice."""

    NEUTRAL = "neutral"
    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"
    EXCITED = "excited"
    TENDER = "tender"
    FEARFUL = "fearful"


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The voice, language and prosody of a text."""

    voice: str = ""
    """A voice's id; empty picks the model's own for each language."""
    language: str = ""
    """The text's language as a BCP 47 tag; empty detects it by the script, sentence by sentence."""
    voices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The languages of the known voices, by voice id, each voice's own first. Any other voice is assumed to speak every
    language."""
    languages: Sequence[str] = ()
    """The primary subtags of the languages that the model speaks; empty for any."""
    find_voice: Callable[[str], str] = _as_named
    """Returns the id of the voice that a name in a document means; raises UnknownVoice."""
    prosody: Prosody = field(default_factory=Prosody)
    """The prosody."""
    volume_db: float = 0.0
    """Decibels louder or softer; -40 to 12."""
    emotion: Emotion = Emotion.NEUTRAL
    """The emotion."""
    lexicon: Sequence[tuple[str, str]] = ()
    """Written words with their spoken replacements. Of two entries for a word the first counts."""
    verbatim: bool = False
    """Skip text normalization: leave numbers, dates, symbols and abbreviations to the voice."""
    max_length: int = 300
    """The maximum length of an utterance in characters; 16 to 10,000."""

    def __post_init__(self) -> None:
        """Raise ValueError if `max_length` is out of range."""
        if not 16 <= self.max_length <= 10_000:
            raise ValueError(f"invalid max_length: {self.max_length}; must be 16 to 10,000")


@dataclass(frozen=True, slots=True)
class Say:
    """An utterance to speak."""

    utterance: Utterance
    """The utterance. Its `clone` is never set here."""
    volume_db: float = 0.0
    """Decibels louder or softer, -40 to 12; `SILENT_DB` for silence."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence."""

    milliseconds: int
    """Its length; above 0."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A named place in the speech, from an SSML document."""

    name: str
    """Its name."""


Item: TypeAlias = Say | Pause | Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One or more sentences, with their items."""

    first_character: int
    """Its beginning in the text without tags, in Unicode code points."""
    characters: int
    """Its length in Unicode code points."""
    items: Sequence[Item]
    """The items, in order; empty if there is nothing to speak, such as for emoji only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechPlan:
    """The speech of a whole text. Equal texts with equal controls have equal plans."""

    chunks: Sequence[Chunk]
    """The chunks. They cover the text without a gap: each begins where the preceding one ends."""
    characters: int
    """The length of the text without its tags, in Unicode code points."""
