"""What processes use: CPU time and memory, from the kernel."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping, Sequence

import psutil

Group = Mapping[str, Sequence[int]]


def with_children(pids: Sequence[int]) -> list[psutil.Process]:
    """The processes and all that they started, as far as they live."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                found[one.pid] = one
    return list(found.values())


def cpu_seconds(group: Group) -> dict[str, float]:
    """CPU time used so far, user and system, by the group's names."""
    used = {}
    for name, pids in group.items():
        total = 0.0
        for process in with_children(pids):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        used[name] = total
    return used


def memory_bytes(group: Group) -> dict[str, int]:
    """Memory by the group's names: each process's proportional share of its pages."""
    return {name: sum(_proportional(process.pid) for process in with_children(pids)) for name, pids in group.items()}


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
