"""A child process for tests: it answers, floods, prints, sleeps and dies on request."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from enginehouse.engines.voice.workers import serve

ECHO, FLOOD, PRINT, HANG, DIE, FAIL, WHO, READ_STDIN, BAD_KIND, EXIT = range(1, 11)


def handle(kind: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
    if kind == ECHO:
        yield ECHO, payload
    elif kind == FLOOD:
        # As many frames of 64 KiB as requested; the number taken is printed to stderr.
        for index in range(int(payload)):
            yield FLOOD, bytes(65536)
            print(f"wrote {index + 1}", file=sys.stderr)
    elif kind == PRINT:
        print("from Python")
        sys.stdout.flush()
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None)
        yield PRINT, b"printed"
    elif kind == HANG:
        yield HANG, b"hanging"
        time.sleep(float(payload))
    elif kind == DIE:
        os.kill(os.getpid(), int(payload))
        signal.pause()
    elif kind == FAIL:
        raise ValueError(payload.decode())
    elif kind == WHO:
        yield WHO, f"{os.getpid()} {os.environ['OMP_NUM_THREADS']} {os.nice(0)} {' '.join(sys.argv[1:])}".encode()
    elif kind == READ_STDIN:
        yield READ_STDIN, os.read(0, 100)
    elif kind == BAD_KIND:
        yield int(payload), b""
    elif kind == EXIT:
        print("leaving", file=sys.stderr)
        os._exit(int(payload))


if __name__ == "__main__":
    if "broken" in sys.argv:
        print("cannot find the voices", file=sys.stderr)
        sys.exit(3)
    if "dies-once" in sys.argv:
        mark = Path(sys.argv[-1])
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
    if "slow" in sys.argv:
        print("loading", file=sys.stderr)
        time.sleep(60)
    serve(handle)
