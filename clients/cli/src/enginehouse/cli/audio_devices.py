"""Loudspeaker and microphone of this machine, used by way of installed programs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, Self

from enginehouse.local.errors import LocalError

MICROPHONE_SAMPLE_RATE = 16_000
"""Sample rate of recordings, in Hz. They are 16-bit little-endian PCM with one channel."""

# The length in the header of a WAV file that is still being written.
_UNKNOWN_LENGTH = 0xFFFFFFFF
# A tenth of a second of audio, so that recognition starts early.
_CHUNK_BYTES = MICROPHONE_SAMPLE_RATE * 2 // 10
_STOP_TIMEOUT_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Program:
    """A program that plays or records audio.

    Attributes:
        name: its name on PATH.
        arguments: returns its arguments for a path and a sample rate in Hz.
        raw: True for a player of raw samples, False for one of files in any format.
    """

    name: str
    arguments: Callable[[str, int], Sequence[str]]
    raw: bool = True


def _pipewire(path: str, rate: int) -> Sequence[str]:
    # From 1.4 on, "-" is a file unless --raw is given. Older versions read raw samples and do not know the flag.
    usage = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    raw = ["--raw"] if "--raw" in usage.stdout + usage.stderr else []
    return [*raw, "--rate", str(rate), "--channels", "1", "--format", "s16", "-"]


_PLAYERS = (
    _Program("ffplay", lambda _, rate: ["-nodisp", "-autoexit", "-loglevel", "error", "-i", "-"], raw=False),
    _Program("aplay", lambda _, rate: ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(rate), "-"]),
    _Program("paplay", lambda _, rate: ["--raw", "--format=s16le", "--channels=1", f"--rate={rate}"]),
    _Program("pw-play", _pipewire),
)
_RECORDERS = (
    _Program("arecord", lambda _, rate: ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", str(rate), "-"]),
    _Program("parecord", lambda _, rate: ["--raw", "--format=s16le", "--channels=1", f"--rate={rate}"]),
    _Program("pw-record", _pipewire),
)


class AudioPlayer:
    """Player of audio that arrives in pieces. Use it in a `with` block; leaving the block stops playback.

    Args:
        encoding: the encoding of the audio, such as "wav".

    Raises:
        LocalError: no installed program can play this encoding.
    """

    def __init__(self, encoding: str) -> None:
        self._is_pcm = encoding == "pcm"
        suitable = _PLAYERS if encoding in ("wav", "pcm") else tuple(player for player in _PLAYERS if not player.raw)
        found = _find(suitable)
        if found is None:
            purpose = "" if suitable == _PLAYERS else f" for {encoding}"
            raise LocalError(
                f"no player{purpose} on PATH: install one of {_names(suitable)}"
                + ("" if suitable == _PLAYERS else ", or leave out --format")
                + ", or write a file with --out"
            )
        self._program, self._path = found
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._header: bytes | None = b"" if self._program.raw and not self._is_pcm else None

    def play(self, audio: bytes, *, rate: int) -> None:
        """Play the next piece of audio. Raise LocalError if the player failed."""
        if self._process is None:
            self._begin(rate)
        audio = self._samples(audio)
        try:
            self._pipe().write(audio)
            self._pipe().flush()
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self) -> None:
        """Wait until everything has been played. Raise LocalError if the player failed."""
        if self._process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._pipe().close()
        if self._process.wait() != 0:
            raise self._failure()

    def __enter__(self) -> Self:
        self._stderr = tempfile.TemporaryFile()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            _end(self._process)
            with contextlib.suppress(BrokenPipeError):
                self._pipe().close()
        if self._stderr is not None:
            self._stderr.close()

    def _begin(self, rate: int) -> None:
        command = [self._path, *self._program.arguments(self._path, rate)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._stderr)
        if self._is_pcm and not self._program.raw:
            self._pipe().write(_wav_header(rate))

    def _samples(self, audio: bytes) -> bytes:
        """Return the audio without its WAV header if the program takes raw samples."""
        if self._header is None:
            return audio
        self._header += audio
        place = self._header.find(b"data")
        if place < 0 or len(self._header) < place + 8:
            return b""
        audio, self._header = self._header[place + 8 :], None
        return audio

    def _pipe(self) -> IO[bytes]:
        if self._process is None or self._process.stdin is None:
            raise ValueError("playback has not started: call play first")
        return self._process.stdin

    def _failure(self) -> LocalError:
        status = self._process.wait(_STOP_TIMEOUT_S) if self._process is not None else 0
        return _program_error(self._program.name, "play", status, self._stderr)


class Microphone:
    """Recording from the microphone. Use it in a `with` block; leaving the block stops it.

    Raises:
        LocalError: no recording program is installed.
    """

    def __init__(self) -> None:
        found = _find(_RECORDERS)
        if found is None:
            raise LocalError(
                f"no recorder on PATH: install one of {_names(_RECORDERS)}, or give a file instead of --mic"
            )
        self._program, path = found
        self._command = [path, *self._program.arguments(path, MICROPHONE_SAMPLE_RATE)]
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._stopped = False

    def chunks(self) -> Iterator[bytes]:
        """Return the samples while they are recorded, until `stop`. Raise LocalError if the recorder failed."""
        if self._process is None or self._process.stdout is None:
            raise ValueError("recording has not started: use the microphone in a `with` block")
        descriptor = self._process.stdout.fileno()
        half = b""
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            chunk = half + chunk
            whole = len(chunk) // 2 * 2
            half = chunk[whole:]
            yield chunk[:whole]
        status = self._process.wait()
        if not self._stopped:
            raise _program_error(self._program.name, "record", status, self._stderr)

    def stop(self) -> None:
        """Stop recording. Samples recorded so far are still returned by `chunks`."""
        self._stopped = True
        if self._process is not None:
            self._process.terminate()

    def __enter__(self) -> Self:
        self._stderr = tempfile.TemporaryFile()
        # A session of its own: Ctrl-C goes to the whole session, and the recorder must end by `stop` only.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        if self._process is not None:
            _end(self._process)
            if self._process.stdout is not None:
                self._process.stdout.close()
        if self._stderr is not None:
            self._stderr.close()


def _find(programs: Sequence[_Program]) -> tuple[_Program, str] | None:
    for program in programs:
        path = shutil.which(program.name)
        if path is not None:
            return program, path
    return None


def _names(programs: Sequence[_Program]) -> str:
    return ", ".join(program.name for program in programs)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _program_error(name: str, what: str, status: int, stderr: IO[bytes] | None) -> LocalError:
    message = ""
    if stderr is not None:
        stderr.seek(0)
        message = " ".join(stderr.read().decode(errors="replace").split())[:500]
    return LocalError(f"{name} could not {what}: {message or f'exit status {status}'}")


def _wav_header(rate: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    return struct.pack(
        "<4sI4s4sI16s4sI", b"RIFF", _UNKNOWN_LENGTH, b"WAVE", b"fmt ", 16, form, b"data", _UNKNOWN_LENGTH
    )
