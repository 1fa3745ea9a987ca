"""Errors of child processes."""

from __future__ import annotations

import signal


class WorkerError(RuntimeError):
    """The error of a child that could not be started, or of a closed pool."""


class WorkerDied(WorkerError):
    """The error of a child that ended, or was killed, while it was in use.

    Args:
        name: the pool's name.
        returncode: the exit status, or the negative number of a signal, as in `subprocess`.
        stderr_tail: the last lines that it wrote to stderr; may be empty.
    """

    def __init__(self, name: str, returncode: int, stderr_tail: str) -> None:
        self.returncode = returncode
        self.stderr_tail = stderr_tail
        tail = f"; its last output: {stderr_tail}" if stderr_tail else ""
        super().__init__(f"the {name} process {_ending(returncode)}{tail}")

    @property
    def signal_name(self) -> str:
        """The signal that ended it, such as "SIGSEGV"; empty if none did."""
        return _signal_name(self.returncode)


def _ending(returncode: int) -> str:
    name = _signal_name(returncode)
    return f"was ended by {name}" if name else f"ended with status {returncode}"


def _signal_name(returncode: int) -> str:
    if returncode >= 0:
        return ""
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
