"""The process that listens: PocketSphinx keeps a core busy, and its decoder is one utterance's at a time.

A recording is cut at its pauses, and each phrase is heard as a whole, which adapts to how loud it is. An utterance is
heard while it comes in. Either way the decoder forgets what was heard before: nobody's speech depends on another's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from pocketsphinx import Decoder, Vad

from enginehouse.engines.voice.backends._phrases import FRAME_MS, Phrase, Phrases
from enginehouse.engines.voice.backends._pocketsphinx_frames import (
    FEED,
    FEED_AND_TELL,
    FINISH,
    HEAR,
    HEARD,
    RECORDING,
    SAID,
    UTTERANCE,
    Said,
    SaidWord,
)
from enginehouse.engines.voice.workers import serve

_SAMPLE_RATE = 16_000
_FRAME_OF_DECODER_MS = 10
# "the(2)" is a second way to say "the".
_ANOTHER_WAY = re.compile(r"\(\d+\)$")
# Silence and noises: "<sil>", "[NOISE]", "++COUGH++".
_NO_WORDS = ("<", "[", "+")


class _Child:
    """Answers the parent's frames."""

    def __init__(self) -> None:
        # The second pass over a phrase was no better on recordings that were tried, and makes a live utterance's end
        # wait for as long as a tenth of the utterance.
        self._decoder = Decoder(samprate=float(_SAMPLE_RATE), fwdflat=False, loglevel="ERROR")
        self._channel: str = self._decoder.get_cmn(False)
        self._vad = Vad(mode=Vad.MEDIUM_LOOSE, sample_rate=_SAMPLE_RATE, frame_length=FRAME_MS / 1000)
        self._phrases = self._new_phrases()
        self._open = False
        self._told: list[str] = []

    def handle(self, kind: int, payload: bytes) -> Iterable[tuple[int, bytes]]:
        if kind == RECORDING:
            self._phrases = self._new_phrases()
        elif kind == HEAR:
            return self._say(self._phrases.feed(payload))
        elif kind == HEARD:
            return self._say(self._phrases.finish())
        elif kind == UTTERANCE:
            self._begin()
        elif kind in (FEED, FEED_AND_TELL):
            self._process(payload, whole=False)
            return self._tell() if kind == FEED_AND_TELL else ()
        elif kind == FINISH:
            return self._finish()
        else:
            raise ValueError(f"no such kind of frame: {kind}")
        return ()

    def _new_phrases(self) -> Phrases:
        return Phrases(is_speech=self._vad.is_speech, frame_bytes=self._vad.frame_bytes)

    def _say(self, phrases: Iterator[Phrase]) -> Iterator[tuple[int, bytes]]:
        for phrase in phrases:
            self._begin()
            self._process(phrase.pcm, whole=True)
            self._end()
            if words := list(self._words(phrase.start_ms)):
                yield SAID, Said(words).encode()

    def _tell(self) -> Iterator[tuple[int, bytes]]:
        # Probabilities come with the end of an utterance.
        words = [SaidWord(word.word, word.start_ms, word.end_ms, 0.0) for word in self._words(0)]
        text = [word.word for word in words]
        if text != self._told:
            self._told = text
            if words:
                yield SAID, Said(words).encode()

    def _finish(self) -> Iterator[tuple[int, bytes]]:
        self._end()
        if words := list(self._words(0)):
            yield SAID, Said(words).encode()

    def _begin(self) -> None:
        self._end()
        self._decoder.set_cmn(self._channel)
        self._decoder.start_utt()
        self._open = True
        self._told = []

    def _end(self) -> None:
        if self._open:
            self._decoder.end_utt()
            self._open = False

    def _process(self, pcm: bytes, *, whole: bool) -> None:
        if pcm:
            self._decoder.process_raw(pcm, False, whole)

    def _words(self, start_ms: int) -> Iterator[SaidWord]:
        if self._decoder.hyp() is None:
            return
        for segment in self._decoder.seg():
            if segment.word.startswith(_NO_WORDS):
                continue
            yield SaidWord(
                _ANOTHER_WAY.sub("", segment.word),
                start_ms + segment.start_frame * _FRAME_OF_DECODER_MS,
                start_ms + (segment.end_frame + 1) * _FRAME_OF_DECODER_MS,
                min(max(segment.prob, 0.0), 1.0),
            )


def main() -> None:
    """Serves the parent."""
    try:
        child = _Child()
    except (RuntimeError, OSError, ValueError) as error:
        sys.exit(f"PocketSphinx cannot be used: {error}; install pocketsphinx again")
    serve(child.handle)


if __name__ == "__main__":
    main()
