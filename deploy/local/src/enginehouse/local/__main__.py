"""Run a supervisor that reports to its starter until the mesh is ready: `python -m enginehouse.local`.

People use `enginehouse up`.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path

from enginehouse.local.datadir import DataDirectory
from enginehouse.local.engines import find_engines
from enginehouse.local.errors import LocalError
from enginehouse.local.logfiles import open_log
from enginehouse.local.settings import Settings
from enginehouse.local.signals import run_until_signal
from enginehouse.local.state import MeshState, Phase
from enginehouse.local.supervisor import Supervisor


def main() -> int:
    """Run until SIGTERM. Return 1 if the mesh could not be started."""
    parser = argparse.ArgumentParser(prog="python -m enginehouse.local")
    parser.add_argument("--data", type=Path, required=True, help="the data directory")
    parser.add_argument("--config", type=Path, help="the user's configuration file")
    parser.add_argument("--port", type=int, help="the public port")
    parser.add_argument("--report-fd", type=int, required=True, help="the descriptor for states, one JSON line each")
    arguments = parser.parse_args()
    reports = _Reports(arguments.report_fd)
    data = DataDirectory(arguments.data)

    def changed(state: MeshState) -> None:
        if data.logs.is_dir() and state.endpoints:
            _log_to(data.logs / "supervisor.log")
        # A failed start is reported once the processes that it had started are stopped.
        if state.phase in (Phase.STARTING, Phase.READY, Phase.FAILED):
            reports.send(state)
        if state.phase is Phase.READY:
            reports.close()

    try:
        settings = Settings(arguments.config, environ=os.environ, engines=find_engines())
        supervisor = Supervisor(settings=settings, data=data, port=arguments.port, environ=os.environ, changed=changed)
    except LocalError as error:
        reports.send(_failed(arguments.data, str(error)))
        return 1
    try:
        run_until_signal(supervisor)
    except LocalError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except Exception as error:
        traceback.print_exc()
        reports.send(_failed(arguments.data, f"{type(error).__name__}: {error} (log: {data.logs}/supervisor.log)"))
        return 1
    return 0


class _Reports:
    """Reports of states to the starter, while it reads them."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")

    def send(self, state: MeshState) -> None:
        if self._file.closed:
            return
        try:
            self._file.write(state.to_json() + "\n")
            self._file.flush()
        except OSError:
            # The starter is gone; the mesh keeps running.
            self.close()

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            return


def _log_to(path: Path) -> None:
    if os.fstat(2).st_rdev != os.stat(os.devnull).st_rdev:
        return
    log = open_log(path)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _failed(data: Path, error: str) -> MeshState:
    return MeshState(
        phase=Phase.FAILED, data=str(data), url="", pid=os.getpid(), start_id="", started_at=0.0, error=error
    )


if __name__ == "__main__":
    sys.exit(main())
