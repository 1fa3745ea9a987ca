"""This machine's loudspeaker and microphone, by the programs that people have for them."""

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
"""Samples a second of what a recorder gives: 16-bit little-endian PCM of one channel."""

_UNKNOWN = 0xFFFFFFFF
# A tenth of a second, so that words are heard soon.
_CHUNK_BYTES = MICROPHONE_SAMPLE_RATE * 2 // 10
_STOP_TIMEOUT_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Program:
    """A program for sound.

    Attributes:
        name: as it is found on PATH.
        arguments: by the samples a second; "-" and the like included.
        samples: whether a player takes bare samples, rather than a file of any form.
    """

    name: str
    arguments: Callable[[str, int], Sequence[str]]
    samples: bool = True


def _pipewire(path: str, rate: int) -> Sequence[str]:
    # From 1.4 on "-" is a file of some form unless this is said; before, it is bare samples and this is unknown.
    told = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    raw = ["--raw"] if "--raw" in told.stdout + told.stderr else []
    return [*raw, "--rate", str(rate), "--channels", "1", "--format", "s16", "-"]


_PLAYERS = (
    _Program("ffplay", lambda _, rate: ["-nodisp", "-autoexit", "-loglevel", "error", "-i", "-"], samples=False),
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
    """Plays audio as it comes. In a `with` block, whose end stops what still plays.

    Args:
        encoding: the audio's.

    Raises:
        LocalError: no program is found that can play it.
    """

    def __init__(self, encoding: str) -> None:
        self._bare = encoding == "pcm"
        able = _PLAYERS if encoding in ("wav", "pcm") else tuple(each for each in _PLAYERS if not each.samples)
        found = _find(able)
        if found is None:
            others = "" if able == _PLAYERS else f" for {encoding}"
            raise LocalError(
                f"nothing{others} to play with is on PATH: install one of {_names(able)}"
                + ("" if able == _PLAYERS else ", or leave out --format")
                + ", or write a file with --out"
            )
        self._program, self._path = found
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._header: bytes | None = b"" if self._program.samples and not self._bare else None

    def play(self, audio: bytes, *, rate: int) -> None:
        """Plays these bytes after those before. Raises LocalError where the program has failed."""
        if self._process is None:
            self._begin(rate)
        audio = self._samples(audio)
        try:
            self._pipe().write(audio)
            self._pipe().flush()
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self) -> None:
        """Waits until everything has been heard. Raises LocalError where the program has failed."""
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
        if self._bare and not self._program.samples:
            self._pipe().write(_wav_header(rate))

    def _samples(self, audio: bytes) -> bytes:
        """The audio in the form that the program takes."""
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
            raise ValueError("nothing is played yet")
        return self._process.stdin

    def _failure(self) -> LocalError:
        status = self._process.wait(_STOP_TIMEOUT_S) if self._process is not None else 0
        return _program_error(self._program.name, "play", status, self._stderr)


class Microphone:
    """Records from the microphone until it is stopped. In a `with` block, whose end stops it.

    Raises:
        LocalError: no program is found that records.
    """

    def __init__(self) -> None:
        found = _find(_RECORDERS)
        if found is None:
            raise LocalError(
                f"nothing to record with is on PATH: install one of {_names(_RECORDERS)}, or give a file, not --mic"
            )
        self._program, path = found
        self._command = [path, *self._program.arguments(path, MICROPHONE_SAMPLE_RATE)]
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._stopped = False

    def chunks(self) -> Iterator[bytes]:
        """The samples as they are recorded; ends after `stop`. Raises LocalError where the program has failed."""
        if self._process is None or self._process.stdout is None:
            raise ValueError("nothing is recorded outside the `with` block")
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
        """Ends the recording; what was recorded is still given."""
        self._stopped = True
        if self._process is not None:
            self._process.terminate()

    def __enter__(self) -> Self:
        self._stderr = tempfile.TemporaryFile()
        # Ctrl-C in a terminal goes to all of a session: the recorder is to end when it is told to.
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
    said = ""
    if stderr is not None:
        stderr.seek(0)
        said = " ".join(stderr.read().decode(errors="replace").split())[:500]
    return LocalError(f"{name} could not {what}: {said or f'it ended with status {status}'}")


def _wav_header(rate: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", _UNKNOWN, b"WAVE", b"fmt ", 16, form, b"data", _UNKNOWN)
