"""CPU time and memory of processes, from the kernel."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Mapping, Sequence

import psutil

Group = Mapping[str, Sequence[int]]


def processes(group: Group) -> dict[str, list[psutil.Process]]:
    """The live processes and their descendants, each under its nearest named ancestor."""
    named = {pid for pids in group.values() for pid in pids}
    found: dict[str, list[psutil.Process]] = {}
    for name, pids in group.items():
        found[name] = []
        todo = [*pids]
        while todo:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(todo.pop())
                found[name].append(process)
                todo += [child.pid for child in process.children() if child.pid not in named]
    return found


def cpu_seconds(group: Group) -> dict[str, float]:
    """CPU time so far, user and system, by name."""
    used = {}
    for name, own in processes(group).items():
        used[name] = 0.0
        for process in own:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used[name] += times.user + times.system
    return used


def memory_bytes(group: Group) -> dict[str, int]:
    """Memory by name: each process's proportional set size."""
    return _memory(group, "Pss:")


def anonymous_bytes(group: Group) -> dict[str, int]:
    """Memory by name that is neither a file's nor shared, such as PostgreSQL's buffers: what a leak grows."""
    return _memory(group, "Pss_Anon:")


def open_files(group: Group) -> dict[str, int]:
    """Open file descriptors by name."""
    opened = {}
    for name, own in processes(group).items():
        opened[name] = 0
        for process in own:
            with contextlib.suppress(psutil.NoSuchProcess):
                opened[name] += process.num_fds()
    return opened


def main_thread_cpu_seconds(pid: int) -> float:
    """CPU time so far of a process's main thread, where Python's event loop runs; 0 if the process is gone."""
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _memory(group: Group, field: str) -> dict[str, int]:
    return {name: sum(_rollup(process.pid, field) for process in own) for name, own in processes(group).items()}


def _rollup(pid: int, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0
