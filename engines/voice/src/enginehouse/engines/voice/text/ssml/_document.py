"""A parsed SSML document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from enginehouse.engines.voice.text._style import Style
from enginehouse.engines.voice.text._verbalizer import SpeechOverride


@dataclass(frozen=True, slots=True)
class StyledSpan:
    """A span of text with one style."""

    start: int
    """The index of its first character."""
    end: int
    """The index after its last one."""
    style: Style
    """Its style."""
    override: SpeechOverride | None
    """Set if an element overrides how it is spoken; such a span is never split."""


@dataclass(frozen=True, slots=True)
class BreakElement:
    """A <break>: a silence in place of the default one."""

    at: int
    """The index of the next character."""
    milliseconds: int
    """Its length; 0 for none at all."""


@dataclass(frozen=True, slots=True)
class MarkElement:
    """A <mark>: a named place in the document."""

    at: int
    """The index of the next character."""
    name: str
    """Its name."""


@dataclass(frozen=True, slots=True)
class SentenceBoundary:
    """The beginning or end of a <p> or an <s>."""

    at: int
    """The index of the next character."""
    pause_ms: int
    """The silence there."""


Event: TypeAlias = BreakElement | MarkElement


@dataclass(slots=True)
class SpeechDocument:
    """The text of a document, with its styles and events."""

    text: str = ""
    """The text without the tags."""
    spans: list[StyledSpan] = field(default_factory=list)
    """Its spans, in order; they cover all of it."""
    events: list[Event] = field(default_factory=list)
    """Events between characters, in order."""
    boundaries: list[SentenceBoundary] = field(default_factory=list)
    """Places where a sentence ends whatever the text is, in order."""
