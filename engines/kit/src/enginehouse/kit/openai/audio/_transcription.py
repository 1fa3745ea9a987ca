"""Transcription and translation: reading the form into a `RecognizeRequest`, and writing the answer's formats."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.kit.multipart import MultipartForm, read_form
from enginehouse.kit.openai._edge import EVENT_STREAM, BodyPiece
from enginehouse.kit.openai._fields import Fields, refusal, unsupported
from enginehouse.kit.openai.audio._languages import language_name
from enginehouse.kit.openai.text._output import DONE, event

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
_KNOWN = frozenset(
    {"chunking_strategy", "file", "include", "include[]", "language", "model", "prompt", "response_format", "stream",
     "temperature", "timestamp_granularities", "timestamp_granularities[]", "user"}
)  # fmt: skip
_GRANULARITIES = ("word", "segment")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """A request for a transcription."""

    recognize: voice_pb2.RecognizeRequest
    """The request to the engine."""
    format: str
    """One of `FORMATS`."""
    words: bool
    """True if the answer lists words (verbose_json)."""
    segments: bool
    """True if the answer lists segments (verbose_json)."""
    stream: bool
    """True to answer with server-sent events as segments come."""


def read_transcription(content_type: str, body: bytes, *, translate: bool) -> TranscriptionRequest:
    """Read the form of POST /v1/audio/transcriptions or translations; raise ServiceError naming the parameter."""
    form = read_form(content_type, body)
    for part in form.parts:
        if part.name not in _KNOWN:
            raise refusal(part.name[:80], f"Unknown parameter: '{part.name[:80]}'.", code="unknown_parameter")
    fields = Fields({name: form.text(name) for name in _KNOWN - {"file"} if not name.startswith(_LISTS)})
    file = form.file("file")
    if file is None:
        raise fields.missing("file")
    kind = fields.one_of("response_format", FORMATS) or "json"
    grains = [*form.texts("timestamp_granularities"), *form.texts("timestamp_granularities[]")]
    for grain in grains:
        if grain not in _GRANULARITIES:
            raise fields.invalid("timestamp_granularities", f"{grain[:40]!r} is neither 'word' nor 'segment'")
    if grains and kind != "verbose_json":
        raise fields.invalid("timestamp_granularities", "it needs response_format 'verbose_json'")
    if form.texts("include") or form.texts("include[]"):
        raise unsupported("include", "Unsupported parameter: 'include'; no model here returns log probabilities.")
    if (fields.text("chunking_strategy") or "auto") != "auto":
        raise unsupported("chunking_strategy", "Unsupported value for 'chunking_strategy': only 'auto' is known.")
    _check_temperature(form)
    stream = _flag(fields, "stream")
    if stream and kind not in ("json", "text"):
        raise fields.invalid("stream", f"response_format '{kind}' cannot be streamed; use 'json' or 'text'")
    words = "word" in grains
    request = voice_pb2.RecognizeRequest(
        model=fields.required_text("model"),
        options=voice_pb2.RecognitionOptions(
            language=fields.text("language") or "",
            word_times=words,
            translate=translate,
            prompt=fields.text("prompt") or "",
        ),
        audio=bytes(file.data),
    )
    return TranscriptionRequest(request, kind, words, not grains or "segment" in grains, stream)


_LISTS = ("include", "timestamp_granularities")


def _flag(fields: Fields, name: str) -> bool:
    value = fields.text(name)
    if value is None:
        return False
    if value.lower() not in _TRUTH:
        raise fields.invalid(name, f"{value[:40]!r} is neither 'true' nor 'false'")
    return _TRUTH[value.lower()]


def _check_temperature(form: MultipartForm) -> None:
    value = form.text("temperature")
    try:
        zero = value is None or float(value) == 0
    except ValueError:
        zero = False
    if not zero:
        raise unsupported("temperature", "Unsupported value for 'temperature': models here recognise with 0 only.")


class TranscriptionAnswer:
    """The recognised segments, which it writes in the requested format."""

    def __init__(self, asked: TranscriptionRequest) -> None:
        self._asked = asked
        self._segments: list[voice_pb2.Segment] = []
        self._last = voice_pb2.RecognizeResponse()

    def add(self, response: voice_pb2.RecognizeResponse) -> BodyPiece | None:
        """Add a message of the engine; return the piece to send now, in a stream."""
        self._segments += response.segments
        if response.HasField("usage"):
            self._last = response
        if not self._asked.stream or not response.segments:
            return None
        first = len(self._segments) == len(response.segments)
        text = " ".join(segment.text for segment in response.segments)
        delta = text if first else f" {text}"
        return EVENT_STREAM, event({"type": "transcript.text.delta", "delta": delta})

    def end(self) -> BodyPiece:
        """Return the answer, or the rest of it in a stream."""
        if self._asked.stream:
            done = {"type": "transcript.text.done", "text": self._last.text, "usage": self._usage()}
            return EVENT_STREAM, event(done) + DONE
        writers: dict[str, Callable[[], BodyPiece]] = {
            "json": lambda: _json({"text": self._last.text, "usage": self._usage()}),
            "text": lambda: ("text/plain; charset=utf-8", f"{self._last.text}\n".encode()),
            "srt": lambda: ("application/x-subrip; charset=utf-8", srt(self._segments).encode()),
            "vtt": lambda: ("text/vtt; charset=utf-8", vtt(self._segments).encode()),
            "verbose_json": self._verbose,
        }
        return writers[self._asked.format]()

    def _usage(self) -> dict[str, Any]:
        seconds = math.ceil(self._last.duration_ms / 1000)
        return {"type": "duration", "seconds": seconds, "cost_nanos": self._last.usage.cost_nanos}

    def _verbose(self) -> BodyPiece:
        last, asked = self._last, self._asked
        body: dict[str, Any] = {
            "task": "translate" if asked.recognize.options.translate else "transcribe",
            "language": language_name(last.language),
            "duration": last.duration_ms / 1000,
            "text": last.text,
        }
        if asked.segments:
            body["segments"] = [_segment(number, segment) for number, segment in enumerate(self._segments)]
        if asked.words:
            body["words"] = [
                {"word": word.word, "start": word.start_ms / 1000, "end": word.end_ms / 1000}
                for segment in self._segments
                for word in segment.words
            ]
        return _json({**body, "usage": self._usage()})


def _segment(number: int, segment: voice_pb2.Segment) -> dict[str, Any]:
    text = segment.text.encode()
    return {
        "id": number,
        "seek": segment.start_ms // 10,
        "start": segment.start_ms / 1000,
        "end": segment.end_ms / 1000,
        "text": segment.text,
        # Models here report no tokens, and recognise only what a detector took for speech.
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": math.log(max(segment.confidence, 1e-6)),
        "compression_ratio": len(text) / len(zlib.compress(text)) if text else 0.0,
        "no_speech_prob": 0.0,
    }


def srt(segments: Sequence[voice_pb2.Segment]) -> str:
    """Return SubRip subtitles."""
    return "".join(
        f"{number}\n{_timestamp(segment.start_ms, ',')} --> {_timestamp(segment.end_ms, ',')}\n{segment.text}\n\n"
        for number, segment in enumerate(segments, start=1)
    )


def vtt(segments: Sequence[voice_pb2.Segment]) -> str:
    """Return WebVTT subtitles."""
    cues = "".join(
        f"{_timestamp(segment.start_ms, '.')} --> {_timestamp(segment.end_ms, '.')}\n{_cue(segment.text)}\n\n"
        for segment in segments
    )
    return f"WEBVTT\n\n{cues}"


def _cue(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _timestamp(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"


def _json(value: object) -> BodyPiece:
    return "application/json", orjson.dumps(value)
