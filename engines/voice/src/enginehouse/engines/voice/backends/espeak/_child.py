"""The synthesis process. Only this process loads espeak-ng, which is GPL-3: the engine talks to it over pipes and does
not link to it, and nothing else may import this module.

Each utterance is synthesized by a fork of this process in its initial state: espeak-ng's state outlives an utterance
(the same text would sound a little different each time, and the dictionaries of a second script stay in memory), and
there is no way to reset it. A fork costs half a millisecond, and a crash costs one utterance.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import espeakng_loader

from enginehouse.engines.voice.backends.espeak._jobs import AUDIO, FAILED, LIST_VOICES, SPEAK, VOICES, Job
from enginehouse.engines.voice.backends.espeak._library import EspeakError, EspeakLibrary
from enginehouse.engines.voice.workers import serve

# 180 ms: the first 60 ms are sent at once; after that, fewer frames are less work.
_BATCH_BYTES = 3 * 2646
# No text takes this long, only a runaway espeak-ng.
_CPU_S = 60
_PR_SET_PDEATHSIG = 1


class _Child:
    """Handler of the parent's frames."""

    def __init__(self, library: EspeakLibrary) -> None:
        self._library = library
        # Loaded here, so that no fork has to.
        self._c = ctypes.CDLL(None)

    def handle(self, kind: int, payload: bytes) -> Iterable[tuple[int, bytes]]:
        if kind == LIST_VOICES:
            return [(VOICES, self._library.inventory().encode())]
        if kind == SPEAK:
            return self._speak(Job.decode(payload))
        raise ValueError(f"no such kind of frame: {kind}")

    def _speak(self, job: Job) -> Iterator[tuple[int, bytes]]:
        source, sink = os.pipe()
        speaker = os.fork()
        if speaker == 0:
            self._run_fork(job, sink)
        os.close(sink)
        try:
            rest = b""
            while pcm := os.read(source, _BATCH_BYTES):
                pcm = rest + pcm
                whole = len(pcm) & ~1
                rest = pcm[whole:]
                yield AUDIO, pcm[:whole]
        finally:
            os.close(source)
            _, status = os.waitpid(speaker, 0)
        if os.WIFSIGNALED(status):
            yield FAILED, f"it was killed by {signal.Signals(os.WTERMSIG(status)).name}".encode()
        elif os.WEXITSTATUS(status):
            yield FAILED, b"it failed"

    def _run_fork(self, job: Job, sink: int) -> NoReturn:
        """Run the fork until it exits."""
        status = 1
        try:
            # The parent's pipes must close with its child, whatever this process does.
            os.closerange(3, sink)
            os.closerange(sink + 1, sink + 64)
            if sys.platform == "linux":
                self._c.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
            output = _Batches(sink)
            self._library.speak(job, output.take)
            output.flush()
            status = 0
        except BrokenPipeError:
            # The reader is gone.
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)


class _Batches:
    """Writer that sends the first samples at once, and the others in batches."""

    def __init__(self, sink: int) -> None:
        self._sink = sink
        self._held = b""
        self._started = False

    def take(self, pcm: bytes) -> None:
        self._held += pcm
        if len(self._held) >= _BATCH_BYTES or not self._started:
            self.flush()

    def flush(self) -> None:
        self._started = True
        while self._held:
            self._held = self._held[os.write(self._sink, self._held) :]


def main() -> None:
    """Serve the parent."""
    try:
        library = EspeakLibrary(
            library=Path(espeakng_loader.get_library_path()), data=Path(espeakng_loader.get_data_path())
        )
    except (EspeakError, OSError, AttributeError) as error:
        sys.exit(f"espeak-ng cannot be used: {error}; install espeakng-loader again")
    # All objects so far are shared with the forks, unless their garbage collectors touch them.
    gc.freeze()
    serve(_Child(library).handle)


if __name__ == "__main__":
    main()
