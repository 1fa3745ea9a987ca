"""A soak: mixed calls through the whole mesh at a modest rate, and what grows meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pathlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .processes import SyntheticMesh, synthetic_mesh
from .rows import Results
from .slope import slope
from .soak_calls import Call, SoakCalls
from .usage import Group, anonymous_bytes, open_files

RATE = 40.0
"""Calls a second at most: few enough that no queue hides what grows. The smallest object that Python could keep for
each call, 50 bytes with its place in a container, would grow a process by 7 MiB an hour."""
IN_FLIGHT = 64
SAMPLE_S = 5.0
SAID_EVERY = 12
WARM_UP = 0.4
"""The share of the time whose samples do not count: caches, pools and arenas fill."""
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The memory and files that processes hold at one moment."""

    at_s: float
    memory: Mapping[str, int]
    """Bytes by process, without files and shared memory."""
    files: Mapping[str, int]
    """Open file descriptors by process."""


@dataclass(frozen=True, kw_only=True)
class Soaked:
    """The outcome of a soak."""

    seconds: float
    calls: Mapping[str, int]
    """By kind."""
    failures: Mapping[str, int]
    """By what was unexpected."""
    samples: Sequence[Sample]
    disk_bytes: Mapping[str, tuple[int, int]]
    """By name, before and after."""

    def figures(self) -> dict[str, float]:
        """The figures of the table."""
        calls, last = sum(self.calls.values()), self.samples[-1]
        growth = slopes(self.samples, lambda sample: sample.memory)
        # PostgreSQL's processes keep tables' files open, as many as they may; nobody else keeps any.
        files = slopes(self.samples, lambda sample: {k: v for k, v in sample.files.items() if k != "postgres"})
        return {
            "soak_seconds": self.seconds,
            "soak_calls": calls,
            "soak_unexplained_failures": sum(self.failures.values()),
            **{f"soak_{name}_memory_mib": last.memory[name] / MIB for name in growth},
            **{f"soak_{name}_memory_slope_mib_per_hour": bytes_ / MIB for name, bytes_ in growth.items()},
            "soak_steepest_memory_slope_mib_per_hour": max(growth.values()) / MIB,
            "soak_steepest_open_files_per_hour": max(files.values()),
            **{
                f"soak_{name}_disk_kib_per_thousand_calls": (after - before) / 1024 / calls * 1000
                for name, (before, after) in self.disk_bytes.items()
            },
        }


def after_warm_up(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples that count."""
    begun = samples[0].at_s
    counted_from = begun + (samples[-1].at_s - begun) * WARM_UP
    return [sample for sample in samples if sample.at_s >= counted_from]


def slopes(samples: Sequence[Sample], value: Callable[[Sample], Mapping[str, int]]) -> dict[str, float]:
    """The growth of a value by process, an hour, after the warm-up."""
    settled = after_warm_up(samples)
    return {
        name: slope([(sample.at_s, float(value(sample)[name])) for sample in settled]) * 3600
        for name in value(settled[0])
    }


async def soak(mesh: SyntheticMesh, *, seconds: float) -> Soaked:
    """Send mixed calls for so long, and sample the mesh's processes."""
    disks = {"spool": mesh.spool, "postgres": mesh.mesh.data / "postgres"}
    before = {name: _disk_bytes(folder) for name, folder in disks.items()}
    calls = SoakCalls(target=mesh.mesh.target, url=mesh.mesh.url, key=mesh.budgeted, poor=mesh.poor)
    load = _Load(calls)
    sampling = asyncio.create_task(_sample(mesh.group))
    started = time.monotonic()
    try:
        await load.send(seconds)
    finally:
        sampling.cancel()
        samples = await sampling
        await calls.close()
    return Soaked(
        seconds=time.monotonic() - started,
        calls=load.sent,
        failures=load.failures,
        samples=samples,
        disk_bytes={name: (before[name], _disk_bytes(folder)) for name, folder in disks.items()},
    )


class _Load:
    """Calls at an even rate, of which so many may be under way."""

    def __init__(self, calls: SoakCalls) -> None:
        self.sent: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self._calls = calls
        self._free = asyncio.Semaphore(IN_FLIGHT)

    async def send(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        due = time.monotonic()
        async with asyncio.TaskGroup() as running:
            for kind, call in self._turns():
                await self._free.acquire()
                if time.monotonic() >= ends:
                    return
                running.create_task(self._one(kind, call))
                # Calls that a slow machine held up are not made up for.
                due = max(due + 1 / RATE, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    def _turns(self) -> Iterator[tuple[str, Call]]:
        mix = self._calls.mix
        twenty = [(kind, call) for kind, (count, call) in mix.items() for _ in range(count)]
        # Seven and twenty have no common divisor: kinds alternate.
        return itertools.cycle([twenty[place * 7 % len(twenty)] for place in range(len(twenty))])

    async def _one(self, kind: str, call: Call) -> None:
        try:
            if unexpected := await call():
                self.failures[f"{kind}: {unexpected}"] += 1
        finally:
            self.sent[kind] += 1
            self._free.release()


async def _sample(group: Group) -> list[Sample]:
    """Sample until cancelled."""
    samples: list[Sample] = []
    try:
        while True:
            memory, files = await asyncio.to_thread(lambda: (anonymous_bytes(group), open_files(group)))
            samples.append(Sample(at_s=time.monotonic(), memory=memory, files=files))
            if len(samples) % SAID_EVERY == 1:
                _say(samples[-1], samples[0].at_s)
            await asyncio.sleep(SAMPLE_S)
    except asyncio.CancelledError:
        return samples


def _say(sample: Sample, begun_s: float) -> None:
    held = ", ".join(f"{name} {size / MIB:.1f} MiB {sample.files[name]} files" for name, size in sample.memory.items())
    print(f"soak after {sample.at_s - begun_s:.0f} s: {held}", file=sys.stderr, flush=True)


def _disk_bytes(folder: pathlib.Path) -> int:
    used = 0
    for path in folder.rglob("*"):
        # Segments and write-ahead logs come and go.
        with contextlib.suppress(FileNotFoundError):
            used += path.lstat().st_blocks * 512
    return used


def measure_soak(results: Results, scratch: pathlib.Path, *, seconds: float) -> None:
    """Soak a fresh mesh: what earlier loads left to be freed would hide what grows."""
    with synthetic_mesh(scratch) as mesh:
        soaked = asyncio.run(soak(mesh, seconds=seconds))
    results.add("soak", soaked.figures())
    for failure, times in soaked.failures.items():
        print(f"soak: {times} times {failure}", file=sys.stderr)
