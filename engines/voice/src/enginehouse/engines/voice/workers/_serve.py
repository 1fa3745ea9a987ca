"""The child's side: read frames, pass them to a handler, and write its answers."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence

from enginehouse.engines.voice.workers._frames import DONE, FIRST_RESERVED, HEAD, READY

_PIPE_BYTES = 256 << 10
_PR_SET_PDEATHSIG = 1
_F_SETPIPE_SZ = 1031


def serve(
    handle: Callable[[int, bytes], Iterable[tuple[int, bytes]]], *, confine: Callable[[], None] | None = None
) -> None:
    """Serve the parent until it closes the pipe or ends. Call it once, after everything is loaded.

    `handle` gets each frame's kind and payload and yields the frames that answer it (kinds 1 to 249), which are sent
    as they are made; it blocks while the parent does not read. An exception in it ends the process with a traceback on
    stderr, which the parent's `WorkerDied` quotes.

    `confine` is called once, after the pipes are set up, to drop rights that are no longer needed.

    All output printed by Python or by a C library goes to stderr.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A supervisor signals the whole group, and the parent may still need its children to finish their work.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    source, sink = _take_pipes()
    _die_with_parent()
    if confine is not None:
        confine()
    _write(sink, READY, b"")
    while (head := _read(source, HEAD.size)) is not None:
        length, kind = HEAD.unpack(head)
        payload = _read(source, length)
        if payload is None:
            return
        for answer_kind, answer in handle(kind, payload):
            if not DONE < answer_kind < FIRST_RESERVED:
                raise ValueError(f"invalid kind of frame: {answer_kind}; must be 1 to {FIRST_RESERVED - 1}")
            _write(sink, answer_kind, answer)
        _write(sink, DONE, b"")


def _take_pipes() -> tuple[int, int]:
    """Move the pipes to private descriptors, so that no library reads or prints between frames."""
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.platform == "linux":
        import fcntl

        for pipe in (source, sink):
            try:
                fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
            except OSError:
                # A socket, or the user's limit of pipe pages is reached: it works, in smaller steps.
                continue
    return source, sink


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies: a closed pipe does not interrupt `handle`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _read(source: int, size: int) -> bytes | None:
    """Read exactly so many bytes; return None if the pipe ends before."""
    whole = bytearray(size)
    view = memoryview(whole)
    while view:
        got = os.readv(source, [view])
        if not got:
            return None
        view = view[got:]
    return bytes(whole)


def _write(sink: int, kind: int, payload: bytes) -> None:
    parts: Sequence[memoryview] = [memoryview(HEAD.pack(len(payload), kind)), memoryview(payload).cast("B")]
    while parts:
        try:
            written = os.writev(sink, parts)
        except BrokenPipeError:
            # The parent is gone.
            os._exit(0)
        left = []
        for part in parts:
            if written < len(part):
                left.append(part[written:])
            written = max(0, written - len(part))
        parts = left
