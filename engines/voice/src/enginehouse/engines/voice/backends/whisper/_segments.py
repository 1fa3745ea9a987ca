"""Convert the segments of windows to segments of the recording."""

from __future__ import annotations

import math
from collections.abc import Sequence

from enginehouse.engines.voice.backends.base import RecognizedWord, Segment
from enginehouse.engines.voice.backends.whisper._languages import tag_of
from enginehouse.engines.voice.backends.whisper._runtime import WhisperSegment
from enginehouse.engines.voice.backends.whisper._windows import RATE, Window


def segment_of(decoded: WhisperSegment, window: Window, *, after_ms: int, detected: bool) -> Segment:
    """Convert a segment of a window to a segment of the recording.

    Whisper pads windows to 30 s, and may place segments in the padding or before the preceding one: times are clamped
    to the window and to `after_ms`. `detected` is whether to report the language.
    """
    first_ms = window.start * 1000 // RATE
    last_ms = (window.start + len(window.samples)) * 1000 // RATE

    def when(seconds: float, low_ms: int, high_ms: int) -> int:
        return min(max(first_ms + round(seconds * 1000), low_ms), high_ms)

    start_ms = when(decoded.start_s, after_ms, last_ms)
    end_ms = when(decoded.end_s, start_ms, last_ms)
    words: list[RecognizedWord] = []
    for word, start_s, end_s, probability in decoded.words:
        begin_ms = when(start_s, words[-1].end_ms if words else start_ms, end_ms)
        until_ms = when(end_s, begin_ms, end_ms)
        words.append(
            RecognizedWord(word=word.strip(), start_ms=begin_ms, end_ms=until_ms, confidence=_bounded(probability))
        )
    return Segment(
        text=decoded.text.strip(),
        start_ms=start_ms,
        end_ms=end_ms,
        confidence=_bounded(math.exp(min(decoded.logprob, 0.0))),
        words=words,
        language=tag_of(decoded.language) if detected else "",
    )


def join_segments(parts: Sequence[tuple[WhisperSegment, Segment]]) -> Segment | None:
    """Return all segments as one; None for no segments."""
    if not parts:
        return None
    segments = [segment for _, segment in parts]
    weights = [len(segment.text) for segment in segments]
    weighted = sum(segment.confidence * weight for segment, weight in zip(segments, weights, strict=True))
    return Segment(
        # With the model's own spaces: some languages have none.
        text="".join(decoded.text for decoded, _ in parts).strip(),
        start_ms=segments[0].start_ms,
        end_ms=segments[-1].end_ms,
        confidence=_bounded(weighted / sum(weights)),
        words=[word for segment in segments for word in segment.words],
        language=segments[0].language,
    )


def _bounded(probability: float) -> float:
    return min(max(float(probability), 0.0), 1.0)
