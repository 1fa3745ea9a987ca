"""Process identity. Pids are reused, and signals must never reach another process."""

from __future__ import annotations

from pathlib import Path

import psutil

_PROC = Path("/proc")


def process_start_id(pid: int) -> str:
    """Return an id of the process's start, constant for its life and unique among processes with its pid.

    Empty if there is no such process. On Linux, it is the boot id and the clock ticks since boot; the time of day that
    other systems give changes when the clock is set.
    """
    if (_PROC / "self" / "stat").exists():
        try:
            # The second field, the program's name, may contain anything. It ends with the last parenthesis.
            fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
            boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""
        return f"{boot}:{fields[19]}"
    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""


def find_process(pid: int, start_id: str) -> psutil.Process | None:
    """Return the process with this pid and this start; None if it is gone, even if its pid was reused."""
    if pid <= 0 or not start_id or process_start_id(pid) != start_id:
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.Error:
        return None
