"""What goes wrong with child processes."""

from __future__ import annotations

import signal


class WorkerError(RuntimeError):
    """A child could not be started, or its pool is closed."""


class WorkerDied(WorkerError):
    """A child ended, or was ended, while somebody needed it.

    Args:
        name: the pool's name.
        returncode: as `subprocess` has it: the exit status, or the negative number of a signal.
        last_words: the last lines that it wrote to stderr; may be empty.
    """

    def __init__(self, name: str, returncode: int, last_words: str) -> None:
        self.returncode = returncode
        self.last_words = last_words
        said = f"; its last words: {last_words}" if last_words else ""
        super().__init__(f"the {name} process {_how(returncode)}{said}")

    @property
    def signal_name(self) -> str:
        """The signal that ended it, such as "SIGSEGV"; empty where none did."""
        return _signal_name(self.returncode)


def _how(returncode: int) -> str:
    name = _signal_name(returncode)
    return f"was ended by {name}" if name else f"ended with status {returncode}"


def _signal_name(returncode: int) -> str:
    if returncode >= 0:
        return ""
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"
