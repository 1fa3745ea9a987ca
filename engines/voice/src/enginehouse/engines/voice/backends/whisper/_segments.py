"""Puts what a Whisper heard in windows into the time of the recording."""

from __future__ import annotations

import math
from collections.abc import Sequence

from enginehouse.engines.voice.backends.base import Heard, Stretch
from enginehouse.engines.voice.backends.whisper._languages import tag_of
from enginehouse.engines.voice.backends.whisper._transcriber import Piece
from enginehouse.engines.voice.backends.whisper._windows import RATE, Window


def stretch_of(piece: Piece, window: Window, *, after_ms: int, detected: bool) -> Stretch:
    """A piece of a window as a stretch of the recording.

    Whisper hears windows padded to 30 s, and may place things in the padding or before what it said last: times are
    kept within the window and after `after_ms`. `detected` says whether the language is worth telling.
    """
    first_ms = window.start * 1000 // RATE
    last_ms = (window.start + len(window.samples)) * 1000 // RATE

    def when(seconds: float, low_ms: int, high_ms: int) -> int:
        return min(max(first_ms + round(seconds * 1000), low_ms), high_ms)

    start_ms = when(piece.start_s, after_ms, last_ms)
    end_ms = when(piece.end_s, start_ms, last_ms)
    words: list[Heard] = []
    for word, start_s, end_s, probability in piece.words:
        begin_ms = when(start_s, words[-1].end_ms if words else start_ms, end_ms)
        until_ms = when(end_s, begin_ms, end_ms)
        words.append(Heard(word=word.strip(), start_ms=begin_ms, end_ms=until_ms, confidence=_bounded(probability)))
    return Stretch(
        text=piece.text.strip(),
        start_ms=start_ms,
        end_ms=end_ms,
        confidence=_bounded(math.exp(min(piece.logprob, 0.0))),
        words=words,
        language=tag_of(piece.language) if detected else "",
    )


def joined(parts: Sequence[tuple[Piece, Stretch]]) -> Stretch | None:
    """All that was said as one stretch; None for nothing."""
    if not parts:
        return None
    stretches = [stretch for _, stretch in parts]
    weights = [len(stretch.text) for stretch in stretches]
    sure = sum(stretch.confidence * weight for stretch, weight in zip(stretches, weights, strict=True))
    return Stretch(
        # As the model spaces it: some languages have no spaces.
        text="".join(piece.text for piece, _ in parts).strip(),
        start_ms=stretches[0].start_ms,
        end_ms=stretches[-1].end_ms,
        confidence=_bounded(sure / sum(weights)),
        words=[word for stretch in stretches for word in stretch.words],
        language=stretches[0].language,
    )


def _bounded(probability: float) -> float:
    return min(max(float(probability), 0.0), 1.0)
