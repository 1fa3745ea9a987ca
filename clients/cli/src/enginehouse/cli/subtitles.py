"""Transcripts as subtitles: SubRip and WebVTT."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from enginehouse.api.voice.v1 import voice_pb2


def srt(segments: Iterable[voice_pb2.Segment]) -> str:
    """Return a SubRip file; empty without segments."""
    return "\n".join(
        f"{number}\n{_time(segment.start_ms, ',')} --> {_time(segment.end_ms, ',')}\n{_line(segment.text)}\n"
        for number, segment in enumerate(segments, start=1)
    )


def vtt(segments: Iterable[voice_pb2.Segment]) -> str:
    """Return a WebVTT file."""
    cues = (
        f"{_time(segment.start_ms, '.')} --> {_time(segment.end_ms, '.')}\n"
        f"{html.escape(_line(segment.text), quote=False)}\n"
        for segment in segments
    )
    return "\n".join(["WEBVTT\n", *cues])


def word_cues(segments: Iterable[voice_pb2.Segment]) -> Sequence[voice_pb2.Segment]:
    """Return the words as segments, each a cue of its own."""
    return [
        voice_pb2.Segment(text=word.word.strip(), start_ms=word.start_ms, end_ms=word.end_ms)
        for segment in segments
        for word in segment.words
    ]


def _time(milliseconds: int, point: str) -> str:
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{rest:03d}"


def _line(text: str) -> str:
    # An empty line would end the cue.
    return " ".join(text.split())
