"""The parent's side of one child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from enginehouse.engines.voice.workers._errors import WorkerDied, WorkerError
from enginehouse.engines.voice.workers._frames import DONE, FIRST_RESERVED, HEAD, READY
from enginehouse.kit.child_process import PIPE, ChildProcess, start_child

_log = logging.getLogger(__name__)

_MAX_STDERR_LINES = 12
_MAX_LINE_LENGTH = 300
_SLICE = 256 << 10
_EXIT_S = 2.0


class Worker:
    """A child process, for one caller at a time. Made by `WorkerPool`."""

    def __init__(self, *, name: str, process: ChildProcess, max_frame_bytes: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._name = name
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._max_frame_bytes = max_frame_bytes
        self._unanswered = 0
        self._sending = False
        self._head: tuple[int, int] | None = None
        self._stderr_lines: deque[str] = deque(maxlen=_MAX_STDERR_LINES)
        self._stderr_reader = asyncio.ensure_future(self._read_stderr(process.stderr))

    @classmethod
    async def start(
        cls,
        *,
        name: str,
        module: str,
        arguments: Sequence[str],
        max_frame_bytes: int,
        nice: int,
        ready_timeout_s: float,
    ) -> Worker:
        """Start `python -m MODULE ARGUMENTS` and wait until it is ready.

        One that dies before that is started once more.

        Raises:
            WorkerError: it could not be started, was not ready in time, or died twice.
        """

        async def attempt() -> Worker:
            return await cls._attempt(
                name=name,
                module=module,
                arguments=arguments,
                max_frame_bytes=max_frame_bytes,
                nice=nice,
                ready_timeout_s=ready_timeout_s,
            )

        try:
            return await attempt()
        except WorkerDied as error:
            _log.warning("%s before it was ready; starting it once more", error)
        try:
            return await attempt()
        except WorkerDied as error:
            raise WorkerError(f"the {name} process did not start: {error} (at the second attempt too)") from error

    @classmethod
    async def _attempt(
        cls,
        *,
        name: str,
        module: str,
        arguments: Sequence[str],
        max_frame_bytes: int,
        nice: int,
        ready_timeout_s: float,
    ) -> Worker:
        try:
            process = await start_child(
                [
                    sys.executable,
                    # Without the current folder on its path: a file there must not shadow a library.
                    "-P",
                    "-m",
                    module,
                    *arguments,
                ],
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                # One child uses one core.
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                # A terminal's Ctrl-C is for the parent.
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError(f"the {name} process could not be started: {error}") from error
        worker = cls(name=name, process=process, max_frame_bytes=max_frame_bytes)
        try:
            if nice:
                with contextlib.suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + nice)
            async with asyncio.timeout(ready_timeout_s):
                kind, _ = await worker._read()
            if kind != READY:
                raise WorkerError(f"the {name} process sent a frame of kind {kind} first; does {module} call serve?")
        except TimeoutError as error:
            await worker.end()
            tail = f"; its last output: {worker.stderr_tail}" if worker.stderr_tail else ""
            raise WorkerError(f"the {name} process was not ready after {ready_timeout_s:g} s{tail}") from error
        except BaseException:
            await worker.end()
            raise
        return worker

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def busy(self) -> bool:
        """True while frames that it was sent are unanswered."""
        return self._unanswered > 0 or self._sending

    @property
    def alive(self) -> bool:
        """True while it runs, as far as is known."""
        return self._process.returncode is None and not self._stdout.at_eof()

    @property
    def whole(self) -> bool:
        """True while the pipe is in step: no frame to the child was cut short."""
        return not self._sending

    @property
    def stderr_tail(self) -> str:
        """The last lines that it wrote to stderr, joined by " | "."""
        return " | ".join(self._stderr_lines)

    async def send(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame of kind 1 to 249. Raises WorkerDied.

        Several frames may be sent before the first is answered; the child takes them in order. More than fits into the
        pipes is sent only as the child reads it: receive in another task meanwhile, or both sides deadlock.
        """
        if not DONE < kind < FIRST_RESERVED:
            raise ValueError(f"invalid kind of frame: {kind}; must be 1 to {FIRST_RESERVED - 1}")
        if len(payload) > self._max_frame_bytes:
            raise ValueError(f"a frame has at most {self._max_frame_bytes} bytes, not {len(payload)}")
        # Stays set if this is cancelled: the child then waits for the rest of a frame.
        self._sending = True
        try:
            self._stdin.write(HEAD.pack(len(payload), kind))
            for start in range(0, len(payload), _SLICE):
                self._stdin.write(payload[start : start + _SLICE])
                await self._stdin.drain()
            await self._stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise await self._death() from error
        self._sending = False
        self._unanswered += 1

    async def receive(self) -> tuple[int, bytes]:
        """Return the next frame's kind and payload. `(DONE, b"")` ends the answer to one frame that was sent.

        Raises WorkerDied. It may be cancelled and called again.
        """
        kind, payload = await self._read()
        if kind == DONE:
            self._unanswered -= 1
        return kind, payload

    async def ask(self, kind: int, payload: bytes = b"") -> AsyncGenerator[tuple[int, bytes], None]:
        """Send a frame and yield the frames that answer it, without the DONE. Raises WorkerDied."""
        await self.send(kind, payload)
        while True:
            answer = await self.receive()
            if answer[0] == DONE:
                return
            yield answer

    async def settle(self) -> None:
        """Drop frames until the child has answered everything. Raises WorkerDied."""
        while self._unanswered:
            await self.receive()

    def kill(self) -> None:
        """Kill it at once; a caller waiting in `receive` gets WorkerDied."""
        self._process.kill()

    async def end(self) -> None:
        """Kill it at once and wait until it is gone and its pipes are closed."""
        self.kill()
        self._stdin.close()
        # asyncio closes a pipe when it has been read to its end, which an unread frame would prevent.
        while await self._stdout.read(_SLICE):
            pass
        await self._process.wait()
        await self._stderr_reader
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._stdin.wait_closed()

    async def _read(self) -> tuple[int, bytes]:
        try:
            if self._head is None:
                length, kind = HEAD.unpack(await self._stdout.readexactly(HEAD.size))
                if length > self._max_frame_bytes:
                    self.kill()
                    raise WorkerDied(
                        self._name,
                        -signal.SIGKILL,
                        f"it sent a frame of {length} bytes; at most {self._max_frame_bytes} are allowed",
                    )
                self._head = length, kind
            length, kind = self._head
            payload = await self._stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise await self._death() from error
        self._head = None
        return kind, payload

    async def _death(self) -> WorkerDied:
        """Return the error that says how the child ended. One that only closed its pipe is killed."""
        try:
            async with asyncio.timeout(_EXIT_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await asyncio.wait([self._stderr_reader], timeout=_EXIT_S)
        return WorkerDied(self._name, self._process.returncode or 0, self.stderr_tail)

    async def _read_stderr(self, stderr: asyncio.StreamReader) -> None:
        """Keep the last lines of the child's stderr, and never let it wait for a reader."""
        rest = ""
        while data := await stderr.read(_SLICE):
            *lines, rest = (rest + data.decode(errors="replace")).split("\n")
            self._stderr_lines.extend(line.strip()[:_MAX_LINE_LENGTH] for line in lines if line.strip())
            rest = rest[:_MAX_LINE_LENGTH]
        if rest.strip():
            self._stderr_lines.append(rest.strip())
