"""Processes of a mesh whose supervisor is gone. They were told to end with it; this makes sure."""

from __future__ import annotations

import contextlib
import signal

import psutil

from enginehouse.local.datadir import DataDirectory
from enginehouse.local.errors import LocalError
from enginehouse.local.pids import find_process
from enginehouse.local.state import MeshState


def stop_orphans(data: DataDirectory, *, patience_s: float = 10.0) -> list[str]:
    """Ends what the last run of a data directory left behind; returns the names. Call with the directory locked.

    A process is ended only if it is the very one that was recorded: same pid, made at the same moment.

    Raises:
        LocalError: one of them cannot be ended.
    """
    last = MeshState.read(data.state)
    found = {}
    for recorded in last.processes if last is not None else ():
        process = find_process(recorded.pid, recorded.start_id)
        if process is not None:
            found[recorded.name] = process
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.Signals(recorded.stop_signal))
    _, alive = psutil.wait_procs(list(found.values()), timeout=patience_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(alive, timeout=patience_s)
    if alive:
        pids = ", ".join(str(process.pid) for process in alive)
        raise LocalError(f"processes of an earlier run cannot be ended (pid {pids}); end them, then try again")
    return list(found)
