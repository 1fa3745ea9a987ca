"""Log files of the processes: opened, rotated and read."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path


def open_log(path: Path) -> int:
    """Return a descriptor for a process's log. It appends, so that the file can be truncated meanwhile."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def rotate(path: Path, *, max_bytes: int, files: int) -> bool:
    """Rotate a log file to NAME.log.1 if it exceeds the size, and keep the given number of rotated files.

    The file is copied and truncated, not renamed, since its process holds it open. A line written in between is lost.
    Return whether the file was rotated.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(files - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    try:
        if files:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
    except OSError:
        # Without space for a copy, truncating the file matters even more.
        path.with_name(f"{path.name}.1").unlink(missing_ok=True)
    os.truncate(path, 0)
    return True


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file, without reading all of it."""
    if count <= 0:
        return []
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            block, start = b"", size
            while start > 0 and block.count(b"\n") <= count:
                step = min(64 * 1024, start)
                start -= step
                file.seek(start)
                block = file.read(step) + block
    except FileNotFoundError:
        return []
    return block.decode(errors="replace").splitlines()[-count:]


def follow(paths: dict[str, Path], *, interval_s: float = 0.2) -> Iterator[tuple[str, str]]:
    """Yield lines that are appended to files from now on, as (name, line), for ever.

    Files may be truncated or created meanwhile. Only complete lines are returned.
    """
    ends = {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}
    return _new_lines(paths, ends, interval_s)


def _new_lines(paths: dict[str, Path], ends: dict[str, int], interval_s: float) -> Iterator[tuple[str, str]]:
    while True:
        for name, path in paths.items():
            try:
                with open(path, "rb") as file:
                    size = file.seek(0, os.SEEK_END)
                    start = ends[name] if size >= ends[name] else 0
                    file.seek(start)
                    block = file.read()
            except FileNotFoundError:
                continue
            whole = block[: block.rfind(b"\n") + 1]
            ends[name] = start + len(whole)
            for line in whole.decode(errors="replace").splitlines():
                yield name, line
        time.sleep(interval_s)
