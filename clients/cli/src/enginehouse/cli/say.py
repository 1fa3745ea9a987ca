"""The command `say`: text to speech, into a file or to the loudspeaker."""

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
from enginehouse.cli.values import MAX_INT32, check_word, decimal_option, whole_option
from enginehouse.client import IncompleteSpeechError, SpeechStream
from enginehouse.client.atomic_file import AtomicFile
from enginehouse.client.requests.voice import EMOTIONS, ENCODINGS, SpeechOptions
from enginehouse.local.datadir import DEFAULT
from enginehouse.local.errors import LocalError

_ENCODING_BY_SUFFIX: Mapping[str, str] = MappingProxyType(
    {
        **{f".{name}": name for name in ENCODINGS},
        ".ogg": "opus",
        ".oga": "opus",
        ".raw": "pcm",
        "": "wav",
    }
)
# Shorter texts are done before a progress bar would be visible.
_LONG_TEXT_CHARACTERS = 1000


@reported
def say(
    text: Annotated[str, typer.Argument(help="The text to speak, or - for standard input.")],
    voice: Annotated[
        str, typer.Option("--voice", "-v", help="A voice of `enginehouse voices`, or a language such as te-IN.")
    ] = "",
    language: Annotated[str, typer.Option("--language", "-l", help="The text's language, such as te or en-IN.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="A model's name, or auto.")] = "auto",
    speed: Annotated[float, decimal_option("--speed", least=0.25, most=4, help="Speed; 1 is the voice's own.")] = 1,
    pitch: Annotated[float, decimal_option("--pitch", least=-12, most=12, help="Pitch change in semitones.")] = 0,
    volume: Annotated[float, decimal_option("--volume", least=-40, most=12, help="Volume change in decibels.")] = 0,
    emotion: Annotated[str, typer.Option("--emotion", help=f"One of {', '.join(EMOTIONS)}.")] = "",
    ssml: Annotated[bool, typer.Option("--ssml", help="The text is an SSML document.")] = False,
    format_: Annotated[
        str,
        typer.Option(
            "--format", "-f", help=f"One of {', '.join(ENCODINGS)}; default: by the suffix of --out, else wav."
        ),
    ] = "",
    rate: Annotated[
        int | None, whole_option("--rate", least=8000, most=48_000, help="Sample rate in Hz; default: the model's own.")
    ] = None,
    out: Annotated[str, typer.Option("--out", "-o", help="The file to write, or - for standard output.")] = "",
    show_text: Annotated[
        bool, typer.Option("--show-text", help="Print the words that would be spoken, and speak nothing.")
    ] = False,
    play: Annotated[bool, typer.Option("--play", "-p", help="Play the speech while it is made.")] = False,
    first_chunk: Annotated[
        int,
        whole_option(
            "--first-chunk", least=0, most=MAX_INT32, help="The chunk to start with, to continue interrupted speech."
        ),
    ] = 0,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    timeout: TimeoutOption = 3600.0,
    json_: JsonFlag = False,
) -> None:
    """Turn a text or an SSML document into speech, into a file or to the loudspeaker."""
    encoding = _encoding(format_, out)
    _check_outputs(out, play=play, as_json=json_, show_text=show_text)
    check_word(emotion, EMOTIONS, flag="--emotion", what="emotion")
    text_to_speak = sys.stdin.read() if text == "-" else text
    if not text_to_speak.strip():
        raise ValueError("no text: give one as argument, or - and text on standard input")
    options: SpeechOptions = {
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
        if show_text:
            _show(mesh.plan_speech(plain, ssml=document, **options), as_json=json_)
            return
        stream = held.enter_context(mesh.speak(plain, ssml=document, first_chunk=first_chunk, **options))
        player = held.enter_context(AudioPlayer(encoding)) if play else None
        with ExitStack() as written:
            file = written.enter_context(AtomicFile(out)) if out not in ("", "-") else None
            long = len(text_to_speak) >= _LONG_TEXT_CHARACTERS and not json_ and sys.stderr.isatty()
            bar = written.enter_context(_SpeechProgressBar(len(text_to_speak), by_chunks=ssml)) if long else None
            size = _deliver(stream, file=file, to_stdout=out == "-", player=player, bar=bar)
        # The file is complete by now, even if playback fails.
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
    """Return the finished speech as `say --json` prints it."""
    summary = stream.summary
    info = stream.info or voice_pb2.AudioInfo()
    if summary is None:
        raise LocalError(f"the speech ended without a summary (request {stream.request_id}); try again")
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


def _show(plan: voice_pb2.PlanSpeechResponse, *, as_json: bool) -> None:
    """Print the words of a speech, one utterance a line, each with its language and voice."""
    if as_json:
        print_json(
            {
                "request_id": plan.request_id,
                "model": plan.model,
                "chunks": [
                    {
                        "first_character": chunk.first_character,
                        "characters": chunk.characters,
                        "pause_ms": chunk.pause_ms,
                        "utterances": [
                            {
                                "text": said.text,
                                "language": said.language,
                                "voice": said.voice,
                                "spelled": said.spelled,
                                "pause_ms": said.pause_ms,
                            }
                            for said in chunk.utterances
                        ],
                    }
                    for chunk in plan.chunks
                ],
            }
        )
        return
    for chunk in plan.chunks:
        for said in chunk.utterances:
            voice = f" {said.voice}" if said.voice else ""
            spelled = " spelled" if said.spelled else ""
            sys.stdout.write(f"[{said.language}{voice}{spelled}] {said.text}\n")
    sys.stdout.flush()


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
            f"speech interrupted before the end of chunk {error.next_chunk}: {error.__cause__}; continue with "
            f"--first-chunk {error.next_chunk} --model {error.model}"
        )
        raise
    return size


def _encoding(given: str, out: str) -> str:
    if given:
        if given not in ENCODINGS:
            raise typer.BadParameter(f"--format: unknown format {given!r}; known: {', '.join(ENCODINGS)}")
        return given
    suffix = "" if out == "-" else Path(out).suffix.lower()
    if suffix not in _ENCODING_BY_SUFFIX:
        known = ", ".join(name for name in _ENCODING_BY_SUFFIX if name)
        raise typer.BadParameter(f"--out: unknown suffix {suffix!r}; known: {known}; or give --format too")
    return _ENCODING_BY_SUFFIX[suffix]


def _check_outputs(out: str, *, play: bool, as_json: bool, show_text: bool) -> None:
    if show_text:
        if out or play:
            raise typer.BadParameter("--show-text speaks nothing: leave out --out and --play")
        return
    if not out and not play:
        raise typer.BadParameter("no output: give --out FILE, or --play to hear the speech")
    if out == "-" and as_json:
        raise typer.BadParameter("--json and --out - both write to standard output: give --out a file")
    if out == "-" and sys.stdout.isatty():
        raise typer.BadParameter("--out - would write audio to the terminal: give a file or --play, or use a pipe")


class _SpeechProgressBar:
    """Progress of a long text, on stderr."""

    def __init__(self, characters: int, *, by_chunks: bool) -> None:
        # The length of an SSML document's text is unknown here, the number of its chunks is not.
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
        """Show the progress of the stream."""
        if self._by_chunks:
            total = stream.info.chunks if stream.info is not None else 0
            self._bar.update(self._task, completed=stream.next_chunk, total=total)
        elif stream.done:
            last = stream.done[-1]
            self._bar.update(self._task, completed=last.first_character + last.characters)
