"""What an SSML document says, once its tags are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from enginehouse.engines.voice.text._style import Style
from enginehouse.engines.voice.text._verbalizer import SpeechOverride


@dataclass(frozen=True, slots=True)
class StyledSpan:
    """A stretch of text that is said in one way."""

    start: int
    """The index of its first character."""
    end: int
    """The index behind its last one."""
    style: Style
    """How it is said."""
    override: SpeechOverride | None
    """Set if an element says what is said for it; such a span is one whole."""


@dataclass(frozen=True, slots=True)
class BreakElement:
    """A silence that the document asks for, in place of the usual one."""

    at: int
    """The index of the character that it comes before."""
    milliseconds: int
    """How long; 0 for none at all."""


@dataclass(frozen=True, slots=True)
class MarkElement:
    """A place that the document names."""

    at: int
    """The index of the character that it comes before."""
    name: str
    """Its name."""


@dataclass(frozen=True, slots=True)
class SentenceBoundary:
    """Where a paragraph or a sentence begins or ends."""

    at: int
    """The index of the character that it comes before."""
    pause_ms: int
    """The silence there."""


Event: TypeAlias = BreakElement | MarkElement


@dataclass(slots=True)
class SpeechDocument:
    """What a document says."""

    text: str = ""
    """All text without the tags."""
    spans: list[StyledSpan] = field(default_factory=list)
    """Its stretches, in order; they cover it."""
    events: list[Event] = field(default_factory=list)
    """What happens between characters, in order."""
    boundaries: list[SentenceBoundary] = field(default_factory=list)
    """Where sentences end whatever the text says, in order."""
