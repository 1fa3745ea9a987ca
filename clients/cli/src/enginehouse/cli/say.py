"""`say`: a text as audio, in a file or out loud."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.cli.audio_devices import AudioPlayer
from enginehouse.cli.connection import ApiKeyOption, DataOption, TimeoutOption, UrlOption, connect
from enginehouse.cli.messages import word
from enginehouse.cli.output import JsonFlag, dollars, print_json, reported, seconds
from enginehouse.client import IncompleteSpeechError, SpeechStream
from enginehouse.client.atomic_file import AtomicFile
from enginehouse.client.requests.voice import EMOTIONS, ENCODINGS, SpeechOptions
from enginehouse.local.datadir import DEFAULT
from enginehouse.local.errors import LocalError

_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        **{f".{name}": name for name in ENCODINGS},
        ".ogg": "opus",
        ".oga": "opus",
        ".raw": "pcm",
        "": "wav",
    }
)
# Shorter texts are spoken before a bar is seen.
_LONG_TEXT = 1000


@reported
def say(
    text: Annotated[str, typer.Argument(help="What to say, or - for standard input.")],
    voice: Annotated[str, typer.Option("--voice", "-v", help="A voice's id; `enginehouse voices` lists them.")] = "",
    language: Annotated[str, typer.Option("--language", "-l", help="The text's, such as te or en-IN.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or auto.")] = "auto",
    speed: Annotated[float, typer.Option("--speed", min=0.25, max=4, help="1 is the voice's own pace.")] = 1,
    pitch: Annotated[float, typer.Option("--pitch", min=-12, max=12, help="Semitones up or down.")] = 0,
    volume: Annotated[float, typer.Option("--volume", min=-40, max=12, help="Decibels louder or softer.")] = 0,
    emotion: Annotated[str, typer.Option("--emotion", help=f"How it feels: {', '.join(EMOTIONS)}.")] = "",
    ssml: Annotated[bool, typer.Option("--ssml", help="The text is an SSML document.")] = False,
    format_: Annotated[
        str, typer.Option("--format", "-f", help=f"{', '.join(ENCODINGS)}; else by the ending of --out, else wav.")
    ] = "",
    rate: Annotated[
        int | None, typer.Option("--rate", min=8000, max=48_000, help="Samples a second; else the model's own.")
    ] = None,
    out: Annotated[str, typer.Option("--out", "-o", help="The file to write, or - for standard output.")] = "",
    play: Annotated[bool, typer.Option("--play", "-p", help="Play it while it is made.")] = False,
    first_chunk: Annotated[int, typer.Option("--first-chunk", min=0, help="Begin where speech was cut.")] = 0,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    timeout: TimeoutOption = 3600.0,
    json_: JsonFlag = False,
) -> None:
    """Speak a text or an SSML document, into a file or out loud."""
    encoding = _encoding(format_, out)
    _check_outputs(out, play=play, as_json=json_)
    text_to_speak = sys.stdin.read() if text == "-" else text
    if not text_to_speak.strip():
        raise ValueError("there is nothing to say: give a text, or - and text on standard input")
    manner: SpeechOptions = {
        "model": model,
        "voice": voice,
        "language": language,
        "speed": speed,
        "pitch": pitch,
        "volume_db": volume,
        "emotion": emotion,
        "encoding": encoding,
        "sample_rate": rate or 0,
    }
    with ExitStack() as held:
        mesh = held.enter_context(connect(url=url, api_key=api_key, data=data, timeout_s=timeout))
        document, plain = (text_to_speak, None) if ssml else (None, text_to_speak)
        stream = held.enter_context(mesh.speak(plain, ssml=document, first_chunk=first_chunk, **manner))
        player = held.enter_context(AudioPlayer(encoding)) if play else None
        with ExitStack() as written:
            file = written.enter_context(AtomicFile(out)) if out not in ("", "-") else None
            long = len(text_to_speak) >= _LONG_TEXT and not json_ and sys.stderr.isatty()
            bar = written.enter_context(_SpeechProgressBar(len(text_to_speak), by_chunks=ssml)) if long else None
            size = _deliver(stream, file=file, to_stdout=out == "-", player=player, bar=bar)
        # The file is whole by now, whatever becomes of the rest of the playing.
        if player is not None:
            player.finish()
    described = describe(stream, size=size, path=out if file is not None else None)
    if json_:
        print_json(described)
        return
    stopped = ", stopped by budget" if described["stopped_by_budget"] else ""
    where = f" {out}" if file is not None else ""
    sys.stderr.write(
        f"[{described['model']}, {seconds(described['audio_ms'])} of speech in {described['total_ms']} ms, "
        f"{dollars(described['cost_nanos'])}{stopped}]{where}\n"
    )
    sys.stderr.flush()


def describe(stream: SpeechStream, *, size: int, path: str | None) -> dict[str, Any]:
    """What was spoken, as `say --json` prints it."""
    summary = stream.summary
    info = stream.info or voice_pb2.AudioInfo()
    if summary is None:
        raise LocalError(f"the speech ended without its summary (request {stream.request_id}); try again")
    return {
        "request_id": stream.request_id,
        "model": stream.model,
        "encoding": word(voice_pb2.AudioEncoding, info.encoding),
        "content_type": info.content_type,
        "sample_rate": info.sample_rate,
        "chunks": info.chunks,
        "audio_ms": summary.audio_ms,
        "bytes": size,
        "usage": dict(summary.usage),
        "cost_nanos": summary.cost_nanos,
        "time_to_first_audio_ms": summary.time_to_first_audio_ms,
        "total_ms": summary.total_ms,
        "stopped_by_budget": summary.stopped_by_budget,
        "path": path,
    }


def _deliver(
    stream: SpeechStream,
    *,
    file: AtomicFile | None,
    to_stdout: bool,
    player: AudioPlayer | None,
    bar: _SpeechProgressBar | None,
) -> int:
    size = 0
    try:
        for piece in stream:
            size += len(piece)
            if file is not None:
                file.write(piece)
            if to_stdout:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            if player is not None and stream.info is not None:
                player.play(piece, rate=stream.info.sample_rate)
            if bar is not None:
                bar.update(stream)
    except IncompleteSpeechError as error:
        error.message = (
            f"the speech broke off before chunk {error.next_chunk} was whole (--first-chunk {error.next_chunk} --model "
            f"{error.model} speaks the rest): {error.__cause__}"
        )
        raise
    return size


def _encoding(given: str, out: str) -> str:
    if given:
        if given not in ENCODINGS:
            raise typer.BadParameter(f"--format: {given!r} is none of {', '.join(ENCODINGS)}")
        return given
    ending = "" if out == "-" else Path(out).suffix.lower()
    if ending not in _ENDINGS:
        known = ", ".join(name for name in _ENDINGS if name)
        raise typer.BadParameter(f"--out: the ending {ending!r} is none of {known}; give --format too")
    return _ENDINGS[ending]


def _check_outputs(out: str, *, play: bool, as_json: bool) -> None:
    if not out and not play:
        raise typer.BadParameter("say where the speech is to go: --out FILE, or --play to hear it")
    if out == "-" and as_json:
        raise typer.BadParameter("--json and --out - both write to standard output: give --out a file")
    if out == "-" and sys.stdout.isatty():
        raise typer.BadParameter("--out - would write audio to the terminal: give a file, a pipe, or --play")


class _SpeechProgressBar:
    """How much of a long text has been spoken, on stderr."""

    def __init__(self, characters: int, *, by_chunks: bool) -> None:
        # Of a document only the text is counted, and how much of it there is nobody says; but its chunks are.
        self._by_chunks = by_chunks
        unit = "chunks" if by_chunks else "characters"
        self._bar = ProgressBar(
            TextColumn("speaking"),
            BarColumn(),
            TextColumn(f"{{task.completed:.0f}} of {{task.total:.0f}} {unit}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None if by_chunks else characters, start=True)

    def __enter__(self) -> _SpeechProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, stream: SpeechStream) -> None:
        """Shows how far it has come."""
        if self._by_chunks:
            total = stream.info.chunks if stream.info is not None else 0
            self._bar.update(self._task, completed=stream.next_chunk, total=total)
        elif stream.done:
            last = stream.done[-1]
            self._bar.update(self._task, completed=last.first_character + last.characters)
