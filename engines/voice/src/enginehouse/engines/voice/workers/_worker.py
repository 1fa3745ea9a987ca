"""The parent's side of one child."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Sequence

from enginehouse.engines.voice.workers._errors import WorkerDied, WorkerError
from enginehouse.engines.voice.workers._frames import DONE, FIRST_RESERVED, HEAD, READY

_LAST_LINES = 12
_LINE_CHARACTERS = 300
_SLICE = 256 << 10
_EXIT_S = 2.0


class Worker:
    """A child, for one caller at a time. Made by `WorkerPool`."""

    def __init__(self, *, name: str, process: asyncio.subprocess.Process, max_frame_bytes: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._name = name
        self._process = process
        self._killed = False
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._max_frame_bytes = max_frame_bytes
        self._unanswered = 0
        self._sending = False
        self._head: tuple[int, int] | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._listening = asyncio.ensure_future(self._listen(process.stderr))

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
        """Starts `python -m MODULE ARGUMENTS` and waits until it serves; raises WorkerError where it does not."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without the current folder on its path: a file there must not pass for a library.
                "-P",
                "-m",
                module,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # One child is one core's work.
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
                raise WorkerError(f"the {name} process began with a frame of kind {kind}; does {module} call serve?")
        except TimeoutError as error:
            await worker.end()
            said = f"; its last words: {worker.last_words}" if worker.last_words else ""
            raise WorkerError(f"the {name} process was not ready after {ready_timeout_s:g} s{said}") from error
        except WorkerDied as error:
            await worker.end()
            raise WorkerError(f"the {name} process did not start: {error}") from error
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
        """Whether frames that it was sent are not done with."""
        return self._unanswered > 0 or self._sending

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return self._process.returncode is None and not self._stdout.at_eof()

    @property
    def whole(self) -> bool:
        """Whether the child can still be understood: no frame to it was cut short."""
        return not self._sending

    @property
    def last_words(self) -> str:
        """The last lines that it wrote to stderr, joined by " | "."""
        return " | ".join(self._last_lines)

    async def send(self, kind: int, payload: bytes = b"") -> None:
        """Sends a frame of kind 1 to 249. Raises WorkerDied.

        Several may be sent before the first is done with; the child takes them in order. More than fits into the pipes
        goes out only as the child reads it: receive in another task meanwhile, or the two wait for each other.
        """
        if not DONE < kind < FIRST_RESERVED:
            raise ValueError(f"frames are of kind 1 to {FIRST_RESERVED - 1}, not {kind}")
        if len(payload) > self._max_frame_bytes:
            raise ValueError(f"a frame has at most {self._max_frame_bytes} bytes, not {len(payload)}")
        # Stays set where this is cancelled: the child then waits for the rest of a frame.
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
        """The next frame: its kind and payload. `(DONE, b"")` ends the answer to one that was sent.

        Raises WorkerDied. May be cancelled and called again.
        """
        kind, payload = await self._read()
        if kind == DONE:
            self._unanswered -= 1
        return kind, payload

    async def ask(self, kind: int, payload: bytes = b"") -> AsyncGenerator[tuple[int, bytes], None]:
        """Sends a frame and yields the frames that answer it, without the DONE. Raises WorkerDied."""
        await self.send(kind, payload)
        while True:
            answer = await self.receive()
            if answer[0] == DONE:
                return
            yield answer

    async def settle(self) -> None:
        """Drops frames until the child is done with what it was sent. Raises WorkerDied."""
        while self._unanswered:
            await self.receive()

    def kill(self) -> None:
        """Ends it at once; who waits in `receive` gets WorkerDied."""
        # Once: signalling a process that has ended reaps it, and whoever watches it never learns how it ended.
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def end(self) -> None:
        """Ends it at once and waits until it is gone and its pipes are closed."""
        self.kill()
        self._stdin.close()
        # asyncio closes a pipe when it has been read to its end, which an unread frame would hold up.
        while await self._stdout.read(_SLICE):
            pass
        await self._process.wait()
        await self._listening
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
                        f"a frame of {length} bytes, of which {self._max_frame_bytes} are allowed",
                    )
                self._head = length, kind
            length, kind = self._head
            payload = await self._stdout.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError) as error:
            raise await self._death() from error
        self._head = None
        return kind, payload

    async def _death(self) -> WorkerDied:
        """What the child died of. One that only closed its pipe is ended."""
        try:
            async with asyncio.timeout(_EXIT_S):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await asyncio.wait([self._listening], timeout=_EXIT_S)
        return WorkerDied(self._name, self._process.returncode or 0, self.last_words)

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        """Keeps the last lines of what the child says, and never lets it wait for a reader."""
        rest = ""
        while data := await stderr.read(_SLICE):
            *lines, rest = (rest + data.decode(errors="replace")).split("\n")
            self._last_lines.extend(line.strip()[:_LINE_CHARACTERS] for line in lines if line.strip())
            rest = rest[:_LINE_CHARACTERS]
        if rest.strip():
            self._last_lines.append(rest.strip())
