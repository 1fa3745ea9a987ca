"""Plans of SSML documents."""

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
    """What an SSML document becomes. Takes linear time.

    The plan counts the characters of the text without its tags. A break takes the place of the pause that would be
    between two sentences.

    Args:
        document: with <speak> as its outermost element.
        controls: what it is said with where the document does not say otherwise.

    Raises SsmlError, with the line and the column, for what is not SSML, or not spoken here, or says nothing.
    """
    read = read_ssml(document, controls=controls)
    parts = _Planner(read, controls=controls).parts()
    if not any(isinstance(item, Say) for part in parts for item in part.items):
        raise SsmlError("it says nothing: give at least one word", line=1, column=1)
    size = len(read.text)
    return SpeechPlan(
        chunks=tuple(gather_chunks(parts, characters=size, max_length=controls.max_length)), characters=size
    )


class _Planner:
    """Goes once through a document's sentences, and along with them through its spans, events and edges."""

    def __init__(self, document: SpeechDocument, *, controls: Controls) -> None:
        self._document = document
        self._max_length = controls.max_length
        self._wording = Verbalizer(controls=controls)
        self._events = deque(document.events)
        self._edges = deque(document.boundaries)
        self._span = 0

    def parts(self) -> list[PlannedSentence]:
        """The sentences, each with what is said, marked and paused in it and around it."""
        parts: list[PlannedSentence] = []
        items: list[Item] = []
        for sentence in self._sentences():
            pause_ms = max(sentence.pause_ms, self._edge_pause_ms(sentence.first))
            between = self._events_until(sentence.first + 1)
            breaks = [event.milliseconds for event in between if isinstance(event, BreakElement)]
            if not parts:
                items = _items(between)
            else:
                # Marks before the break belong to what was said before.
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
        ends = sorted({*(edge.at for edge in self._document.boundaries), len(text)})
        begin = 0
        for end in ends:
            # The ends of lines mean nothing in XML.
            stream = SentenceStream(max_length=self._max_length, lines=False, first=begin)
            yield from stream.feed(text[begin:end])
            yield from stream.flush()
            begin = end

    def _masked(self) -> str:
        """The text, in which no sentence ends inside what is one whole."""
        text = self._document.text
        return "".join(
            text[span.start : span.end] if span.override is None else _ENDS.sub("_", text[span.start : span.end])
            for span in self._document.spans
        )

    def _edge_pause_ms(self, first: int) -> int:
        pause_ms = 0
        while self._edges and self._edges[0].at <= first:
            pause_ms = max(pause_ms, self._edges.popleft().pause_ms)
        return pause_ms

    def _events_until(self, at: int) -> list[Event]:
        """The events that come before a character, and that no sentence has yet."""
        events = []
        while self._events and self._events[0].at < at:
            events.append(self._events.popleft())
        return events

    def _spoken(self, sentence: Sentence) -> list[Item]:
        script = self._wording.script_of(self._document.text[sentence.first : sentence.end])
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
                        # The sentence before was cut in the middle of it, and has said it.
                        continue
                    fragment = Fragment(self._document.text[span.start : span.end], span.override)
                if alike and (span.style != style or fragment.spelled or alike[-1].spelled):
                    assert style is not None
                    items += self._wording.say(alike, style, script=script)
                    alike = []
                alike.append(fragment)
                style = span.style
            if alike:
                assert style is not None
                items += self._wording.say(alike, style, script=script)
                alike = []
            if event is not None:
                items += _items([event])
            at = end
        return items

    def _spans(self, start: int, end: int) -> Iterator[StyledSpan]:
        """The spans between two characters."""
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
