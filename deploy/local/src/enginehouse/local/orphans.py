"""Processes of a mesh whose supervisor is gone. They should have ended with it; this makes sure."""

from __future__ import annotations

import contextlib
import signal

import psutil

from enginehouse.local.datadir import DataDirectory
from enginehouse.local.errors import LocalError
from enginehouse.local.pids import find_process
from enginehouse.local.state import MeshState


def stop_orphans(data: DataDirectory, *, timeout_s: float = 10.0) -> list[str]:
    """Stop the processes that the last run of a data directory left behind, and return their names.

    The directory must be locked. A process is stopped only if it is the recorded one: same pid, same start.

    Raises:
        LocalError: a process cannot be stopped.
    """
    last = MeshState.read(data.state)
    found = {}
    for recorded in last.processes if last is not None else ():
        process = find_process(recorded.pid, recorded.start_id)
        if process is not None:
            found[recorded.name] = process
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.Signals(recorded.stop_signal))
    _, alive = psutil.wait_procs(list(found.values()), timeout=timeout_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(alive, timeout=timeout_s)
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise LocalError(f"processes of an earlier run cannot be stopped (pid {pids}); kill them, then try again")
    return list(found)
