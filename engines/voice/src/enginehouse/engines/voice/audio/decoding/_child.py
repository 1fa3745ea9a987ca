"""The decoder process, for untrusted files: `python -m enginehouse.engines.voice.audio.decoding._child BYTES`.

FFmpeg's parsers are written in C, and a malicious file may exploit them. This process has nothing to take: no open
files, no way to open a file or a socket, bounded memory and processor time. BYTES limits its address space beyond what
it has at the start.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pkgutil
import resource
import sys
from collections.abc import Iterator

import av

from enginehouse.engines.voice.audio import _containers
from enginehouse.engines.voice.audio._pcm import pcm_bytes
from enginehouse.engines.voice.audio.decoding import _protocol
from enginehouse.engines.voice.audio.decoding._limits import MediaError, MediaLimits
from enginehouse.engines.voice.audio.decoding._media import decode, probe
from enginehouse.engines.voice.workers import serve

# Length of a frame to the engine: long enough to cost little, short enough to begin soon.
_PIECE_S = 0.5


class Decoder:
    """Handler of the engine's frames, one file at a time."""

    def __init__(self) -> None:
        self._rate = 0
        self._limits = MediaLimits()

    def handle(self, kind: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        """Answer one frame; see `_protocol`."""
        if kind == _protocol.SETTINGS:
            self._rate, max_bytes, max_seconds, max_cpu_s = _protocol.JOB.unpack(payload)
            self._limits = MediaLimits(max_bytes=max_bytes, max_seconds=max_seconds, max_cpu_s=max_cpu_s)
            return
        _allow_cpu(self._limits.max_cpu_s)
        try:
            if kind == _protocol.PROBE:
                info = probe(payload, limits=self._limits)
                yield _protocol.INFO, json.dumps(dataclasses.asdict(info)).encode()
            else:
                yield from self._decode(payload)
        except MediaError as error:
            yield _protocol.ERROR, str(error).encode()
        except MemoryError:
            yield _protocol.FATAL, b"decoding the file takes more memory than a recording should"

    def _decode(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        size = int(_PIECE_S * self._rate) * 2
        piece = bytearray()
        try:
            for samples in decode(data, rate=self._rate, limits=self._limits):
                piece += pcm_bytes(samples)
                while len(piece) >= size:
                    yield _protocol.SAMPLES, bytes(piece[:size])
                    del piece[:size]
        except MediaError:
            # The audio before the error counts.
            if piece:
                yield _protocol.SAMPLES, bytes(piece)
            raise
        if piece:
            yield _protocol.SAMPLES, bytes(piece)


def _allow_cpu(seconds: int) -> None:
    """Let this process use so many more seconds of processor time; SIGXCPU ends it after that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _warm_up() -> None:
    """Load everything that any file may need while files can still be opened: PyAV loads some modules late."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    wav = _containers.wav_header(8_000) + bytes(16_000)
    for rate in (8_000, 16_000):
        list(decode(wav, rate=rate, limits=MediaLimits()))
    probe(wav, limits=MediaLimits())


def _address_space() -> int:
    """Return the address space of this process now, in bytes."""
    with open("/proc/self/statm") as sizes:
        return int(sizes.read().split()[0]) * resource.getpagesize()


def _confine(max_memory: int) -> None:
    """Drop the rights that decoding does not need."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        space = _address_space() + max_memory
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    # The lowest free descriptor: limiting descriptors to it forbids opening any more.
    free = os.dup(2)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))


def main() -> None:
    """Serve the engine until it closes the pipe."""
    max_memory = int(sys.argv[1])
    _warm_up()
    serve(Decoder().handle, confine=lambda: _confine(max_memory))


if __name__ == "__main__":
    main()
