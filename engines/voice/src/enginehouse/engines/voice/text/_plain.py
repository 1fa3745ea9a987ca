"""Plans of plain text."""

from __future__ import annotations

from enginehouse.engines.voice.text._chunks import PlannedSentence, gather_chunks
from enginehouse.engines.voice.text._plan import Chunk, Controls, Item, Pause, SpeechPlan
from enginehouse.engines.voice.text._style import Style
from enginehouse.engines.voice.text._verbalizer import Fragment, Verbalizer
from enginehouse.engines.voice.text.segmentation.stream import Sentence, SentenceStream


def plan_text(text: str, *, controls: Controls) -> SpeechPlan:
    """What a plain text becomes. Takes linear time, and no text makes it fail: `check_text` finds those that say
    nothing.

    Args:
        text: any; lone surrogates and control characters are passed over.
        controls: what it is said with.
    """
    speech = _Speech(controls=controls)
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
    """Plain text that arrives in pieces, planned a sentence at a time.

    However the pieces are cut, what is said is what `plan_text` says for the whole. Every chunk is one sentence and
    says something; white space, emoji and the like belong to the next chunk that does, and those at the very end to
    none. The pause between two sentences is the first item of the second, as nobody knows beforehand that there will
    be one.

    Args:
        controls: what it is said with.
    """

    def __init__(self, *, controls: Controls) -> None:
        self._speech = _Speech(controls=controls)
        self._stream = SentenceStream(max_length=controls.max_length, lines=True)
        self._begin = 0
        self._pause_ms = 0
        self._spoken = False

    def feed(self, piece: str) -> list[Chunk]:
        """The sentences that are whole with this piece.

        Args:
            piece: the next characters; any number of them, none included.
        """
        return self._chunks(self._stream.feed(piece))

    def flush(self) -> list[Chunk]:
        """What is left, though its last sentence may not be whole. More text may follow."""
        return self._chunks(self._stream.flush())

    def drop(self) -> None:
        """Forget what was not given. What follows begins anew, without a pause before it; its characters are counted
        on from all that came."""
        self._stream.drop()
        self._begin = self._stream.end
        self._pause_ms = 0
        self._spoken = False

    def _chunks(self, sentences: list[Sentence]) -> list[Chunk]:
        chunks = []
        for sentence in sentences:
            items = self._speech.items(sentence)
            self._pause_ms = max(self._pause_ms, sentence.pause_ms)
            if not items:
                continue
            if self._pause_ms and self._spoken:
                items.insert(0, Pause(self._pause_ms))
            chunks.append(Chunk(first_character=self._begin, characters=sentence.end - self._begin, items=tuple(items)))
            self._begin, self._pause_ms, self._spoken = sentence.end, 0, True
        return chunks


class _Speech:
    """What is said for sentences of plain text."""

    def __init__(self, *, controls: Controls) -> None:
        self._wording = Verbalizer(controls=controls)
        self._style = Style.of(controls)

    def items(self, sentence: Sentence) -> list[Item]:
        script = self._wording.script_of(sentence.text)
        return list(self._wording.say((Fragment(sentence.text),), self._style, script=script))
