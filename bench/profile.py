"""Sampled profiles of the router and of the engine under the full gRPC path's load.

py-spy reads the stacks of a running process from outside, without stopping it. It sees Python's frames: native code,
such as uvloop's and gRPC's, counts for the Python function that called it, or for the loop if none did.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .loads import Load
from .profile_parts import ENGINE, ROUTER, Parts, part_of, read_stacks, short_name
from .usage import cpu_seconds, main_thread_cpu_seconds

RATE = 200
"""Samples a second."""
TOP = 20
OTHER_THREADS = "other threads"


class ProfileFailed(Exception):
    """The profiler could not read the process; the message says the fix."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Where a process's CPU time went, in microseconds a request."""

    process: str
    requests_per_second: float
    samples: int
    parts: Mapping[str, float]
    """By part; all parts together are the whole process."""
    functions: Mapping[str, float]
    """The functions with the most time of their own."""

    @property
    def cpu_us_per_request(self) -> float:
        """CPU microseconds a request of the whole process."""
        return sum(self.parts.values())


class Profiler:
    """Takes profiles by py-spy.

    Args:
        scratch: a folder for what it writes.
        seconds: how long each load lasts.
    """

    def __init__(self, *, scratch: pathlib.Path, seconds: float) -> None:
        self._scratch = scratch
        self._seconds = seconds
        self._program = pathlib.Path(sys.executable).with_name("py-spy")

    def router(self, pid: int, load: Callable[[float], Load]) -> Profile:
        """Profile the router under a load, which is called with its seconds."""
        return self._take("router", pid, load, ROUTER)

    def engine(self, pid: int, load: Callable[[float], Load]) -> Profile:
        """Profile the engine under a load."""
        return self._take("engine", pid, load, ENGINE)

    def _take(self, process: str, pid: int, load: Callable[[float], Load], parts: Parts) -> Profile:
        if not self._program.exists():
            raise ProfileFailed("py-spy is not in this environment: run `make install`")
        output = self._scratch / f"stacks-{process}.txt"
        command = [str(self._program), "record", "--nonblocking", "--threads", "--function", "--full-filenames"]
        command += ["--format", "raw", "--rate", str(RATE), "--duration", str(max(1, round(self._seconds)))]
        command += ["--pid", str(pid), "--output", str(output)]
        group = {process: [pid]}
        cpu, main = cpu_seconds(group)[process], main_thread_cpu_seconds(pid)
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as sampling:
            done = load(self._seconds)
            cpu, main = cpu_seconds(group)[process] - cpu, main_thread_cpu_seconds(pid) - main
            _, errors = sampling.communicate(timeout=60)
        if sampling.returncode:
            raise ProfileFailed(
                f"py-spy could not read the {process}: {errors.strip()[-300:]}. Where the system keeps processes from "
                "reading each other's memory, run it as root or with the capability SYS_PTRACE"
            )
        stacks = output.read_text().splitlines()
        return attribute(done, process=process, pid=pid, stacks=stacks, parts=parts, cpu_s=cpu, main_s=main)


def attribute(
    load: Load, *, process: str, pid: int, stacks: Sequence[str], parts: Parts, cpu_s: float, main_s: float
) -> Profile:
    """Share a load's CPU time out among parts and functions, as the samples of the main thread say.

    Args:
        load: what was answered in that time.
        process: whose it is.
        pid: the process, and so its main thread.
        stacks: py-spy's collapsed stacks.
        parts: what frames belong to.
        cpu_s: CPU seconds of the whole process.
        main_s: those of its main thread.
    """
    by_part: Counter[str] = Counter()
    by_function: Counter[str] = Counter()
    for frames, count in read_stacks(stacks, thread=pid):
        by_part[part_of(frames, parts)] += count
        by_function[short_name(frames[-1])] += count
    samples = by_part.total()
    if not samples:
        raise ProfileFailed(f"py-spy saw the {process} do nothing under the load")
    answered = max(1, load.requests - load.failed)
    each = main_s / answered / samples * 1e6
    return Profile(
        process=process,
        requests_per_second=load.per_second,
        samples=samples,
        parts={
            **{name: count * each for name, count in by_part.most_common()},
            OTHER_THREADS: max(0.0, cpu_s - main_s) / answered * 1e6,
        },
        functions={name: count * each for name, count in by_function.most_common(TOP)},
    )
