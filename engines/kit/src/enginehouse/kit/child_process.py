"""Child processes that are started without any fork handler, on every event loop.

uvloop forks in earnest, and what other libraries registered for forks then runs in the child: gRPC's handlers abort it
between fork and exec now and then, while other threads call into gRPC. Python's own `subprocess` uses `vfork` where
nothing has to run in between, which runs no handler; so it starts the child here, and the loop gets its pipes.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

DEVNULL = subprocess.DEVNULL
PIPE = subprocess.PIPE

# What the child does of itself before it becomes the program: anything between fork and exec would need a real fork.
_LAUNCH = """
import ctypes, os, sys
parent, number, uid, gid, *command = sys.argv[1:]
try:
    if int(uid) >= 0:
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if int(number):
        ctypes.CDLL(None, use_errno=True).prctl(1, int(number), 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execvpe(command[0], command, os.environ)
except OSError as error:
    sys.exit(f"{command[0]} cannot be run: {error.strerror}")
"""


class ChildProcess:
    """A running child, with the streams of those of its pipes that were asked for. Made by `start_child`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        stdin: asyncio.StreamWriter | None,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
    ) -> None:
        self._process = process
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._ended = asyncio.ensure_future(_until_ended(process))
        self._ended.add_done_callback(lambda _: self._close_stdin())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status at this moment, or the negative number of the signal that ended it; None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status as `returncode` does."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Read all output until it has ended. An output that is no pipe is empty."""
        if self.stdin is not None:
            self.stdin.close()
        output, errors, _ = await asyncio.gather(_all_of(self.stdout), _all_of(self.stderr), self.wait())
        return output, errors

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end, unless it has."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self._process.kill()
        self._close_stdin()

    def _close_stdin(self) -> None:
        # Nobody reads it any more; a writer that is left open fails once its loop is closed.
        if self.stdin is not None:
            self.stdin.close()


async def start_child(
    command: Sequence[str],
    *,
    stdin: int = DEVNULL,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
    parent_death_signal: signal.Signals | None = None,
    os_user: str | None = None,
) -> ChildProcess:
    """Start a program without forking this process in earnest. Must be called on the event loop's thread.

    Args:
        command: the program and its arguments.
        stdin, stdout, stderr: as in `subprocess`; those that are `PIPE` become streams of the child.
        env: its complete environment; None for that of this process.
        start_new_session: whether a terminal's signals are kept from it.
        parent_death_signal: what the system sends it when this thread ends, on Linux; None for nothing.
        os_user: the OS user that it runs as; None for the current one.

    Raises:
        OSError: the program is not there or may not be run.
    """
    if parent_death_signal is not None and sys.platform != "linux":
        parent_death_signal = None
    if parent_death_signal is not None or os_user is not None:
        command = _launched(command, env, parent_death_signal, os_user)
    process = _spawned(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=None if env is None else dict(env),
        start_new_session=start_new_session,
    )
    written: asyncio.StreamWriter | None = None
    try:
        written = await _writer(process.stdin)
        return ChildProcess(
            process,
            stdin=written,
            stdout=await _reader(process.stdout),
            stderr=await _reader(process.stderr),
        )
    except BaseException:
        process.kill()
        process.wait()
        if written is not None:
            written.close()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise


def _spawned(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start it on this thread: the system tells the child of the end of the thread that started it."""
    return subprocess.Popen(command, **options)


def _launched(
    command: Sequence[str], env: Mapping[str, str] | None, number: signal.Signals | None, os_user: str | None
) -> list[str]:
    """Return the command that becomes `command` once it has set what only the child itself can set."""
    program, *arguments = command
    found = shutil.which(program, path=(os.environ if env is None else env).get("PATH"))
    if found is None:
        known = os.path.exists(program)
        raise (PermissionError(13, "Permission denied") if known else FileNotFoundError(2, "No such file or directory"))
    uid, gid = (-1, -1) if os_user is None else pwd.getpwnam(os_user)[2:4]
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), str(int(number or 0)), str(uid), str(gid)]
    return [*launch, found, *arguments]


async def _reader(pipe: IO[bytes] | None) -> asyncio.StreamReader | None:
    if pipe is None:
        return None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def _writer(pipe: IO[bytes] | None) -> asyncio.StreamWriter | None:
    if pipe is None:
        return None
    loop = asyncio.get_running_loop()
    # It is the protocol that a writer waits with; nothing is ever read.
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def _all_of(reader: asyncio.StreamReader | None) -> bytes:
    return b"" if reader is None else await reader.read()


async def _until_ended(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status, once there is one."""
    try:
        watched = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # Not Linux, or an old one, or no descriptor is left; or it was waited for already.
        return await asyncio.to_thread(process.wait)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    return process.wait()
