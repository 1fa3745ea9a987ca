"""The recognition process: PocketSphinx keeps a core busy, and its decoder serves one utterance at a time.

A recording is cut at its pauses into phrases; an utterance is decoded while it comes in. Either is brought to the level
that the model expects: far from it, the word error rate is several times as high until the decoder has adapted. The
adaptation is reset after each recording or utterance, so that no caller's speech affects another's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from pocketsphinx import Decoder, Vad

from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.backends.pocketsphinx._frames import (
    HYPOTHESIS,
    RECORDING,
    RECORDING_AUDIO,
    RECORDING_END,
    UTTERANCE,
    UTTERANCE_AUDIO,
    UTTERANCE_AUDIO_INTERIM,
    UTTERANCE_END,
    Hypothesis,
    HypothesisWord,
)
from enginehouse.engines.voice.backends.pocketsphinx._level import LevelNormalizer
from enginehouse.engines.voice.backends.pocketsphinx._phrases import FRAME_MS, Phrase, PhraseSplitter
from enginehouse.engines.voice.workers import serve

_SAMPLE_RATE = 16_000
_FRAME_OF_DECODER_MS = 10
# The decoder adapts to the channel between the blocks that it is given.
_PIECE = _SAMPLE_RATE // 10
_LEVEL, _MAX_GAIN = 500, 20
# Samples that an utterance's level is measured by.
_LEVEL_SAMPLES = _SAMPLE_RATE * 4 // 5
_VAD_MODE = Vad.MEDIUM_LOOSE
# "the(2)" is a second pronunciation of "the".
_PRONUNCIATION_VARIANT = re.compile(r"\(\d+\)$")
# Silence and noises: "<sil>", "[NOISE]", "++COUGH++".
_NOISE_PREFIXES = ("<", "[", "+")


class _Child:
    """Handler of the parent's frames."""

    def __init__(self) -> None:
        # A second pass over a phrase was no better on tested recordings, and delays a live utterance's end by a tenth
        # of its length.
        self._decoder = Decoder(samprate=float(_SAMPLE_RATE), fwdflat=False, loglevel="ERROR")
        self._splitter = _new_splitter()
        self._level = _new_level(_LEVEL_SAMPLES)
        self._rest: Samples = np.empty(0, np.int16)
        self._open = False
        self._last_interim: list[str] = []
        # The first utterance reads uninitialized memory, and may be decoded differently.
        self._begin(_LEVEL_SAMPLES)
        self._decode(np.zeros(_PIECE, np.int16))
        self._end()

    def handle(self, kind: int, payload: bytes) -> Iterable[tuple[int, bytes]]:
        if kind == RECORDING:
            self._splitter = _new_splitter()
        elif kind == RECORDING_AUDIO:
            return self._recognise(self._splitter.feed(payload))
        elif kind == RECORDING_END:
            return self._recognise(self._splitter.finish())
        elif kind == UTTERANCE:
            self._begin(_LEVEL_SAMPLES)
        elif kind in (UTTERANCE_AUDIO, UTTERANCE_AUDIO_INTERIM):
            self._decode(self._level.feed(_samples(payload)))
            return self._interim() if kind == UTTERANCE_AUDIO_INTERIM else ()
        elif kind == UTTERANCE_END:
            return self._finish(0)
        else:
            raise ValueError(f"no such kind of frame: {kind}")
        return ()

    def _recognise(self, phrases: Iterator[Phrase]) -> Iterator[tuple[int, bytes]]:
        for phrase in phrases:
            samples = _samples(phrase.pcm)
            self._begin(len(samples))
            self._decode(self._level.feed(samples))
            yield from self._finish(phrase.start_ms)

    def _interim(self) -> Iterator[tuple[int, bytes]]:
        # Probabilities are known only at the end of an utterance.
        words = [HypothesisWord(word.word, word.start_ms, word.end_ms, 0.0) for word in self._words(0)]
        text = [word.word for word in words]
        if text != self._last_interim:
            self._last_interim = text
            if words:
                yield HYPOTHESIS, Hypothesis(words).encode()

    def _begin(self, level_samples: int) -> None:
        if self._open:
            self._decoder.end_utt()
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._open = True
        self._level = _new_level(level_samples)
        self._rest = np.empty(0, np.int16)
        self._last_interim = []

    def _decode(self, samples: Samples) -> None:
        """Decode whole blocks only, so that the result does not depend on how the utterance was cut."""
        samples = np.concatenate((self._rest, samples))
        whole = len(samples) - len(samples) % _PIECE
        for start in range(0, whole, _PIECE):
            self._decoder.process_raw(samples[start : start + _PIECE].tobytes(), False, False)
        self._rest = samples[whole:]

    def _end(self) -> None:
        if len(self._rest):
            self._decoder.process_raw(self._rest.tobytes(), False, False)
        self._decoder.end_utt()
        self._open = False

    def _finish(self, start_ms: int) -> Iterator[tuple[int, bytes]]:
        self._decode(self._level.finish())
        self._end()
        if words := list(self._words(start_ms)):
            yield HYPOTHESIS, Hypothesis(words).encode()

    def _words(self, start_ms: int) -> Iterator[HypothesisWord]:
        if self._decoder.hyp() is None:
            return
        for segment in self._decoder.seg():
            if segment.word.startswith(_NOISE_PREFIXES):
                continue
            yield HypothesisWord(
                _PRONUNCIATION_VARIANT.sub("", segment.word),
                start_ms + segment.start_frame * _FRAME_OF_DECODER_MS,
                start_ms + (segment.end_frame + 1) * _FRAME_OF_DECODER_MS,
                min(max(segment.prob, 0.0), 1.0),
            )


def _new_splitter() -> PhraseSplitter:
    # The detector adapts to the background, so every recording has its own.
    vad = Vad(mode=_VAD_MODE, sample_rate=_SAMPLE_RATE, frame_length=FRAME_MS / 1000)
    return PhraseSplitter(is_speech=vad.is_speech, frame_bytes=vad.frame_bytes)


def _new_level(settle_samples: int) -> LevelNormalizer:
    return LevelNormalizer(settle_samples=settle_samples, target=_LEVEL, max_gain=_MAX_GAIN)


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm[: len(pcm) & ~1], "<i2").astype(np.int16)


def main() -> None:
    """Serve the parent."""
    try:
        child = _Child()
    except (RuntimeError, OSError, ValueError) as error:
        sys.exit(f"PocketSphinx cannot be used: {error}; install pocketsphinx again")
    serve(child.handle)


if __name__ == "__main__":
    main()
