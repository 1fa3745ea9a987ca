"""Start a mesh that outlives its starter, and stop it from another process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from enginehouse.local.datadir import DataDirectory
from enginehouse.local.errors import LocalError
from enginehouse.local.orphans import stop_orphans
from enginehouse.local.state import MeshState, Phase


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """The result of `stop`.

    Attributes:
        was_running: True if there was a supervisor, or processes that had outlived theirs.
        seconds: the time that stopping took.
    """

    was_running: bool
    seconds: float


def start_detached(
    *,
    data: Path,
    config: Path | None,
    port: int | None,
    environ: Mapping[str, str],
    changed: Callable[[MeshState], None],
) -> MeshState:
    """Start a supervisor in a session of its own, and return once its mesh is ready.

    Args:
        data: the data directory.
        config: the user's file, or None.
        port: the public port, or None.
        environ: its environment.
        changed: called with each state until then.

    Raises:
        LocalError: the mesh could not be started; none of its processes runs.
    """
    read, write = os.pipe()
    command = [sys.executable, "-m", "enginehouse.local", "--data", str(data), "--report-fd", str(write)]
    command += ["--config", str(config)] if config is not None else []
    command += ["--port", str(port)] if port is not None else []
    try:
        supervisor = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            pass_fds=(write,),
            start_new_session=True,
        )
    finally:
        os.close(write)
    last: MeshState | None = None
    try:
        with os.fdopen(read, encoding="utf-8") as reports:
            for line in reports:
                last = MeshState.from_json(line)
                changed(last)
                if last.phase is Phase.READY:
                    return last
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        raise
    supervisor.wait()
    problem = last.error if last is not None else ""
    raise LocalError(problem or f"the supervisor exited with code {supervisor.returncode} without a report")


def stop(data: DataDirectory, *, timeout_s: float = 300.0) -> Stopped:
    """Stop the mesh of a data directory in order. Do nothing if none runs.

    Raises:
        LocalError: it did not stop in time, or its orphans cannot be stopped.
    """
    began = time.monotonic()
    supervisor = data.holder()
    if supervisor is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.send_signal(signal.SIGTERM)
        try:
            supervisor.wait(timeout_s)
        except psutil.TimeoutExpired:
            raise LocalError(
                f"the mesh did not stop in {timeout_s:g} s (supervisor pid {supervisor.pid}); see {data.logs}"
            ) from None
    found: list[str] = []
    if data.exists:
        lock = data.lock()
        try:
            found = stop_orphans(data)
        finally:
            lock.close()
    return Stopped(was_running=supervisor is not None or bool(found), seconds=time.monotonic() - began)
