"""Split a stream of text into sentences as they become complete."""

from __future__ import annotations

import re
from dataclasses import dataclass

from enginehouse.engines.voice.text.segmentation.sentences import Ending, EndReason, SentenceSplitter

BETWEEN_SENTENCES_MS = 250
"""The silence between two sentences."""
BETWEEN_PARAGRAPHS_MS = 600
"""The silence between two paragraphs."""

_WRITTEN = re.compile(r"\S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence, or a part of a long one."""

    first: int
    """The index of its first character in the whole text."""
    text: str
    """Its characters; the first one is not white space."""
    pause_ms: int
    """The silence before it."""

    @property
    def end(self) -> int:
        """The index after its last character."""
        return self.first + len(self.text)


class SentenceStream:
    """Text in, sentences out. Linear in the text, however small its pieces are.

    Args:
        max_length: the maximum length of a sentence.
        lines: whether line breaks count.
        first: the index of the first character in the whole text.
    """

    def __init__(self, *, max_length: int, lines: bool, first: int = 0) -> None:
        self._splitter = SentenceSplitter(max_length=max_length, lines=lines)
        self._by_lines = lines
        self._held = ""
        self._position = first
        self._seen = 0
        self._column = 0
        self._last: EndReason | None = None
        self._feeds = 0
        self._returns = 0

    @property
    def end(self) -> int:
        """The index after all text so far."""
        return self._position + len(self._held)

    def feed(self, text: str) -> list[Sentence]:
        """Take text and return the sentences that are complete."""
        self._held += text
        return self._take(final=False)

    def flush(self) -> list[Sentence]:
        """Return the rest, complete or not."""
        return self._take(final=True)

    def drop(self) -> None:
        """Drop the text that was not returned, and the state of the text before."""
        self._position += len(self._held)
        self._held, self._seen, self._column, self._last = "", 0, 0, None
        self._feeds = self._returns = 0

    def _take(self, *, final: bool) -> list[Sentence]:
        text, at = self._held, 0
        sentences = []
        seen = self._seen
        while True:
            written = _WRITTEN.search(text, at)
            start = written.start() if written is not None else len(text)
            self._pass(text[at:start])
            self._feeds += text.count("\n", at, start)
            self._returns += text.count("\r", at, start)
            at = start
            if written is None:
                seen = at
                break
            found = self._splitter.ending(text, start, seen=max(start, seen), column=self._column, final=final)
            if not isinstance(found, Ending):
                seen = found.seen
                break
            sentences.append(
                Sentence(first=self._position + start, text=text[start : found.at], pause_ms=self._pause_ms())
            )
            at = found.at
            self._pass(text[start:at])
            self._last = found.reason
            self._feeds = self._returns = 0
        self._held, self._seen = text[at:], seen - at
        self._position += at
        return sentences

    def _pass(self, text: str) -> None:
        """Track the column within the current line."""
        line_end = max(text.rfind("\n"), text.rfind("\r"))
        self._column = len(text) - line_end - 1 if line_end >= 0 else self._column + len(text)

    def _pause_ms(self) -> int:
        if self._last is None:
            return 0
        if self._by_lines and max(self._feeds, self._returns) > 1:
            return BETWEEN_PARAGRAPHS_MS
        return BETWEEN_SENTENCES_MS if self._last is EndReason.SENTENCE else 0
