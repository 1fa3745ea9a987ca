"""The command `transcribe`: a recording, or the microphone, to text."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.cli import subtitles
from enginehouse.cli.audio_devices import MICROPHONE_SAMPLE_RATE, Microphone
from enginehouse.cli.connection import ApiKeyOption, DataOption, TimeoutOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_text, reported, seconds
from enginehouse.cli.values import MAX_INT32, whole_option
from enginehouse.client import Enginehouse
from enginehouse.client.requests.voice import MAX_RECORDING_BYTES
from enginehouse.local.datadir import DEFAULT
from enginehouse.local.errors import LocalError

_FORMATS = ("text", "json", "srt", "vtt")


@reported
def transcribe(
    file: Annotated[
        str | None, typer.Argument(help="A recording in any common format, or - for standard input.")
    ] = None,
    language: Annotated[str, typer.Option("--language", "-l", help="The spoken language, such as en.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or auto.")] = "auto",
    words: Annotated[bool, typer.Option("--words", help="Give each word with its times, in any format.")] = False,
    translate: Annotated[bool, typer.Option("--translate", help="Translate the text to English.")] = False,
    prompt: Annotated[str, typer.Option("--prompt", help="Likely words, for models that take a hint.")] = "",
    format_: Annotated[str, typer.Option("--format", "-f", help=f"Output format: {', '.join(_FORMATS)}.")] = "text",
    mic: Annotated[bool, typer.Option("--mic", help="Transcribe the microphone until Ctrl-C.")] = False,
    max_seconds: Annotated[
        int | None,
        whole_option(
            "--max-seconds", least=1, most=MAX_INT32, help="Reserve money for this much audio, and stop there."
        ),
    ] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    timeout: TimeoutOption = 3600.0,
    json_: JsonFlag = False,
) -> None:
    """Transcribe a recording or the microphone."""
    if format_ not in _FORMATS:
        raise typer.BadParameter(f"--format: unknown format {format_!r}; known: {', '.join(_FORMATS)}")
    if (file is None) != mic:
        raise typer.BadParameter("give a recording, or --mic for the microphone" + (", not both" if mic else ""))
    if json_:
        format_ = "json"
    options: dict[str, Any] = {
        "model": model,
        "language": language,
        "word_times": words,
        "translate": translate,
        "prompt": prompt,
        "max_audio_seconds": max_seconds,
    }
    with connect(url=url, api_key=api_key, data=data, timeout_s=timeout) as mesh:
        if mic:
            _transcribe_microphone(mesh, options, format_=format_)
            return
        recording = sys.stdin.buffer.read(MAX_RECORDING_BYTES + 1) if file == "-" else str(file)
        found = mesh.transcribe(recording, **options)
    if words:
        _check_words(found.segments, model=found.model)
    described = {
        "request_id": found.request_id,
        "model": found.model,
        "text": found.text,
        "language": found.language,
        "duration_ms": found.duration_ms,
        "segments": [describe(segment, words=words) for segment in found.segments],
        "usage": dict(found.usage),
        "cost_nanos": found.cost_nanos,
        "stopped_by_budget": found.stopped_by_budget,
    }
    if format_ == "text" and not words:
        print_text(found.text)
    else:
        _print_result(described, found.segments, format_=format_, words=words)
    if format_ != "json":
        _print_summary(described)


def describe(segment: voice_pb2.Segment, *, words: bool) -> dict[str, Any]:
    """Return a segment as a JSON document."""
    described: dict[str, Any] = {
        "text": segment.text,
        "start_ms": segment.start_ms,
        "end_ms": segment.end_ms,
        "confidence": round(segment.confidence, 6),
    }
    if words:
        described["words"] = [
            {
                "word": word.word,
                "start_ms": word.start_ms,
                "end_ms": word.end_ms,
                "confidence": round(word.confidence, 6),
            }
            for word in segment.words
        ]
    return described


def _transcribe_microphone(mesh: Enginehouse, options: dict[str, Any], *, format_: str) -> None:
    segments: list[voice_pb2.Segment] = []
    language = ""
    line = _StatusLine()
    with (
        Microphone() as microphone,
        mesh.listen(microphone.chunks(), sample_rate=MICROPHONE_SAMPLE_RATE, interim=line.shown, **options) as stream,
        _stop_on_interrupt(microphone.stop),
    ):
        line.show("listening; Ctrl-C stops")
        for event in stream:
            if event.kind == "interim":
                line.show(event.text)
            elif event.kind == "final" and event.segment is not None:
                line.clear()
                segments.append(event.segment)
                language = language or event.language
                if options["word_times"]:
                    _check_words([event.segment], model=stream.model)
                if format_ == "text":
                    print_text(_word_lines([event.segment]) if options["word_times"] else event.text)
        line.clear()
    summary = stream.summary
    described = {
        "request_id": stream.request_id,
        "model": stream.model,
        "text": " ".join(segment.text for segment in segments),
        "language": language,
        "duration_ms": summary.audio_ms if summary else 0,
        "segments": [describe(segment, words=bool(options["word_times"])) for segment in segments],
        "usage": dict(summary.usage) if summary else {},
        "cost_nanos": summary.cost_nanos if summary else 0,
        "stopped_by_budget": bool(summary and summary.stopped_by_budget),
    }
    if format_ != "text":
        _print_result(described, segments, format_=format_, words=bool(options["word_times"]))
    if format_ != "json":
        _print_summary(described)


def _print_result(
    described: dict[str, Any], segments: Sequence[voice_pb2.Segment], *, format_: str, words: bool
) -> None:
    if format_ == "json":
        print_json(described)
    elif format_ == "text":
        print_text(_word_lines(segments))
    else:
        cues = subtitles.word_cues(segments) if words else segments
        sys.stdout.write(subtitles.srt(cues) if format_ == "srt" else subtitles.vtt(cues))
        sys.stdout.flush()


def _word_lines(segments: Sequence[voice_pb2.Segment]) -> str:
    """Return a line for each word: where it begins and ends, in seconds, and the word."""
    return "\n".join(
        f"{word.start_ms / 1000:.3f}\t{word.end_ms / 1000:.3f}\t{word.word.strip()}"
        for segment in segments
        for word in segment.words
    )


def _check_words(segments: Sequence[voice_pb2.Segment], *, model: str) -> None:
    """Raise LocalError where words were heard and no times came with them."""
    if any(segment.text.strip() for segment in segments) and not any(segment.words for segment in segments):
        raise LocalError(f"--words: the model {model!r} gives no times of words; leave it out, or name another --model")


def _print_summary(described: dict[str, Any]) -> None:
    language = f", {described['language']}" if described["language"] else ""
    stopped = ", stopped by budget" if described["stopped_by_budget"] else ""
    nobody = "" if described["text"] else ", nobody spoke"
    sys.stderr.write(
        f"[{described['model']}{language}, {seconds(described['duration_ms'])} of audio{nobody}, "
        f"{dollars(described['cost_nanos'])}{stopped}]\n"
    )
    sys.stderr.flush()


@contextlib.contextmanager
def _stop_on_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Stop the recording at the first Ctrl-C; a second one interrupts the command as usual."""
    before = signal.getsignal(signal.SIGINT)

    def stopping(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    signal.signal(signal.SIGINT, stopping)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _StatusLine:
    """A line of the terminal that is overwritten; nothing elsewhere."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        """True if stderr is a terminal."""

    def show(self, text: str) -> None:
        """Replace the line's text. Only the end of a long text is shown."""
        if self.shown:
            columns = shutil.get_terminal_size().columns
            sys.stderr.write(f"\r\x1b[K{text[-(columns - 1) :]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Clear the line."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
