"""Child processes that a benchmark starts beside the mesh and ends."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence

END_S = 10.0


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    log: pathlib.Path,
    environment: Mapping[str, str] | None = None,
    folder: pathlib.Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program while the context is open, its output in `log`; end it by SIGKILL if it does not stop."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)


def last_words(log: pathlib.Path) -> str:
    """The last lines of a log, for the error of a process that did not start."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
