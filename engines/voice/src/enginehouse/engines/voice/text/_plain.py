"""Plan the speech of plain text."""

from __future__ import annotations

from enginehouse.engines.voice.text._chunks import PlannedSentence, gather_chunks
from enginehouse.engines.voice.text._plan import Chunk, Controls, Item, Pause, SpeechPlan
from enginehouse.engines.voice.text._style import Style
from enginehouse.engines.voice.text._verbalizer import Fragment, Verbalizer
from enginehouse.engines.voice.text.normalization.markup import strip_line_marks
from enginehouse.engines.voice.text.segmentation.stream import Sentence, SentenceStream


def plan_text(text: str, *, controls: Controls) -> SpeechPlan:
    """Return the plan of a plain text. Takes linear time and never fails: `check_text` finds texts without speech.

    Args:
        text: any text; lone surrogates and control characters are skipped.
        controls: the voice, language and prosody.
    """
    speech = _PlainTextPlanner(controls=controls)
    stream = SentenceStream(max_length=controls.max_length, lines=True)
    parts = [
        PlannedSentence(
            first=sentence.first, end=sentence.end, items=speech.items(sentence), pause_ms=sentence.pause_ms
        )
        for sentence in (*stream.feed(text), *stream.flush())
    ]
    return SpeechPlan(
        chunks=tuple(gather_chunks(parts, characters=len(text), max_length=controls.max_length)), characters=len(text)
    )


class IncrementalText:
    """Planner of plain text that arrives in pieces, a sentence at a time.

    The items do not depend on how the text is cut: they are those of `plan_text` for the whole. Every chunk is one
    sentence with speech; white space, emoji and the like belong to the next such chunk, and those at the very end to
    none. The pause between two sentences is the first item of the second, as it is not known earlier that there will
    be one.

    Args:
        controls: the voice, language and prosody.
    """

    def __init__(self, *, controls: Controls) -> None:
        self._speech = _PlainTextPlanner(controls=controls)
        self._stream = SentenceStream(max_length=controls.max_length, lines=True)
        self._begin = 0
        self._pause_ms = 0
        self._has_speech = False

    def feed(self, piece: str) -> list[Chunk]:
        """Take a piece and return the sentences that are complete.

        Args:
            piece: the next characters; may be empty.
        """
        return self._chunks(self._stream.feed(piece))

    def flush(self) -> list[Chunk]:
        """Return the rest, even if its last sentence is incomplete. More text may follow."""
        return self._chunks(self._stream.flush())

    def drop(self) -> None:
        """Drop the text that was not returned. Later text starts anew, without a pause before it; its characters are
        counted on from all text so far."""
        self._stream.drop()
        self._begin = self._stream.end
        self._pause_ms = 0
        self._has_speech = False

    def _chunks(self, sentences: list[Sentence]) -> list[Chunk]:
        chunks = []
        for sentence in sentences:
            items = self._speech.items(sentence)
            self._pause_ms = max(self._pause_ms, sentence.pause_ms)
            if not items:
                continue
            if self._pause_ms and self._has_speech:
                items.insert(0, Pause(self._pause_ms))
            chunks.append(Chunk(first_character=self._begin, characters=sentence.end - self._begin, items=tuple(items)))
            self._begin, self._pause_ms, self._has_speech = sentence.end, 0, True
        return chunks


class _PlainTextPlanner:
    """Planner of the items of plain sentences."""

    def __init__(self, *, controls: Controls) -> None:
        self._verbalizer = Verbalizer(controls=controls)
        self._style = Style.of(controls)

    def items(self, sentence: Sentence) -> list[Item]:
        script = self._verbalizer.script_of(sentence.text)
        return list(
            self._verbalizer.verbalize((Fragment(strip_line_marks(sentence.text)),), self._style, script=script)
        )
