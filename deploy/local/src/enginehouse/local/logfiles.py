"""The processes' log files: opened for them, kept from growing without bound, and read back."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path


def open_log(path: Path) -> int:
    """A descriptor for a process to write its log to; it appends, so that the file may be emptied under it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def rotate(path: Path, *, max_bytes: int, files: int) -> bool:
    """Sets a log file aside as NAME.log.1 when it has grown over the size, and keeps the last few of these.

    The file is copied and emptied, not renamed, for its process holds it open; a line written in between is lost.
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
        # No room for a copy is the more reason to empty the file.
        path.with_name(f"{path.name}.1").unlink(missing_ok=True)
    os.truncate(path, 0)
    return True


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file, without reading all of it."""
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
    """Whole lines that are written to several files from now on, as (name, line), for ever; files may be emptied or
    appear meanwhile."""
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
