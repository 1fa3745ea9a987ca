"""Which process a pid meant when it was written down. Pids are used again; signals must never reach a stranger."""

from __future__ import annotations

from pathlib import Path

import psutil

_PROC = Path("/proc")


def process_start_id(pid: int) -> str:
    """When the process was made, in a form that stays equal for its life and that no other process of this pid has.

    Empty where there is no such process. On Linux, the boot and the clock ticks since then: the time of day that other
    systems give moves when the clock is set.
    """
    if (_PROC / "self" / "stat").exists():
        try:
            # The second field, the program's name, may hold anything but ends with the last parenthesis.
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
    """The very process that had this pid and this start_id; None if it is gone, whoever has its pid now."""
    if pid <= 0 or not start_id or process_start_id(pid) != start_id:
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.Error:
        return None
