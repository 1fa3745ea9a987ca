"""Plan the speech of SSML documents."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator

from enginehouse.engines.voice.text._chunks import PlannedSentence, gather_chunks
from enginehouse.engines.voice.text._plan import Controls, Item, Mark, Pause, Say, SpeechPlan
from enginehouse.engines.voice.text._style import Style
from enginehouse.engines.voice.text._verbalizer import Fragment, Verbalizer
from enginehouse.engines.voice.text.segmentation.stream import Sentence, SentenceStream
from enginehouse.engines.voice.text.ssml._document import BreakElement, Event, MarkElement, SpeechDocument, StyledSpan
from enginehouse.engines.voice.text.ssml._reader import SsmlError, read_ssml

_ENDS = re.compile(r"[\s.!?…؟۔。！？｡।॥]")


def plan_ssml(document: str, *, controls: Controls) -> SpeechPlan:
    """Return the plan of an SSML document. Takes linear time.

    The plan counts the characters of the text without its tags. A break replaces the pause between two sentences.

    Args:
        document: the document, with <speak> as its outermost element.
        controls: the voice, language and prosody unless the document sets others.

    Raises SsmlError, with the line and the column, for invalid SSML, unsupported elements, or no speech.
    """
    read = read_ssml(document, controls=controls)
    parts = _Planner(read, controls=controls).parts()
    if not any(isinstance(item, Say) for part in parts for item in part.items):
        raise SsmlError("no text to speak: give at least one word", line=1, column=1)
    size = len(read.text)
    return SpeechPlan(
        chunks=tuple(gather_chunks(parts, characters=size, max_length=controls.max_length)), characters=size
    )


class _Planner:
    """Planner of one document: one pass over its sentences, and along with them its spans, events and boundaries."""

    def __init__(self, document: SpeechDocument, *, controls: Controls) -> None:
        self._document = document
        self._max_length = controls.max_length
        self._verbalizer = Verbalizer(controls=controls)
        self._events = deque(document.events)
        self._boundaries = deque(document.boundaries)
        self._span = 0

    def parts(self) -> list[PlannedSentence]:
        """Return the sentences, each with its speech, marks and pauses."""
        parts: list[PlannedSentence] = []
        items: list[Item] = []
        for sentence in self._sentences():
            pause_ms = max(sentence.pause_ms, self._boundary_pause_ms(sentence.first))
            between = self._events_until(sentence.first + 1)
            breaks = [event.milliseconds for event in between if isinstance(event, BreakElement)]
            if not parts:
                items = _items(between)
            else:
                # Marks before the break belong to the preceding sentence.
                at = next((at for at, event in enumerate(between) if isinstance(event, BreakElement)), 0)
                items += _items(between[:at])
                items = [Mark(event.name) for event in between[at:] if isinstance(event, MarkElement)]
            items += self._spoken(sentence)
            parts.append(
                PlannedSentence(
                    first=sentence.first,
                    end=sentence.end,
                    items=items,
                    pause_ms=sum(breaks) if breaks else pause_ms,
                )
            )
        items += _items(self._events)
        return parts

    def _sentences(self) -> Iterator[Sentence]:
        text = self._masked()
        ends = sorted({*(boundary.at for boundary in self._document.boundaries), len(text)})
        begin = 0
        for end in ends:
            # Line breaks mean nothing in XML.
            stream = SentenceStream(max_length=self._max_length, lines=False, first=begin)
            yield from stream.feed(text[begin:end])
            yield from stream.flush()
            begin = end

    def _masked(self) -> str:
        """Return the text with marks masked so that no sentence ends inside an override."""
        text = self._document.text
        return "".join(
            text[span.start : span.end] if span.override is None else _ENDS.sub("_", text[span.start : span.end])
            for span in self._document.spans
        )

    def _boundary_pause_ms(self, first: int) -> int:
        pause_ms = 0
        while self._boundaries and self._boundaries[0].at <= first:
            pause_ms = max(pause_ms, self._boundaries.popleft().pause_ms)
        return pause_ms

    def _events_until(self, at: int) -> list[Event]:
        """Take the events before a character that no sentence has taken yet."""
        events = []
        while self._events and self._events[0].at < at:
            events.append(self._events.popleft())
        return events

    def _spoken(self, sentence: Sentence) -> list[Item]:
        script = self._verbalizer.script_of(self._document.text[sentence.first : sentence.end])
        items: list[Item] = []
        alike: list[Fragment] = []
        style: Style | None = None
        at = sentence.first
        for event in [*self._events_until(sentence.end), None]:
            end = sentence.end if event is None else event.at
            for span in self._spans(at, end):
                fragment = Fragment(self._document.text[max(at, span.start) : min(end, span.end)], span.override)
                if span.override is not None:
                    if span.start < at:
                        # The preceding sentence was cut in the middle of it, and holds all of it.
                        continue
                    fragment = Fragment(self._document.text[span.start : span.end], span.override)
                if alike and (span.style != style or fragment.spelled or alike[-1].spelled):
                    assert style is not None
                    items += self._verbalizer.verbalize(alike, style, script=script)
                    alike = []
                alike.append(fragment)
                style = span.style
            if alike:
                assert style is not None
                items += self._verbalizer.verbalize(alike, style, script=script)
                alike = []
            if event is not None:
                items += _items([event])
            at = end
        return items

    def _spans(self, start: int, end: int) -> Iterator[StyledSpan]:
        """Yield the spans between two characters."""
        spans = self._document.spans
        while self._span < len(spans) and spans[self._span].end <= start:
            self._span += 1
        at = self._span
        while at < len(spans) and spans[at].start < end:
            yield spans[at]
            at += 1


def _items(events: Iterable[Event]) -> list[Item]:
    items: list[Item] = []
    for event in events:
        if isinstance(event, MarkElement):
            items.append(Mark(event.name))
        elif event.milliseconds:
            items.append(Pause(event.milliseconds))
    return items
