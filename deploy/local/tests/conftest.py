"""Small real programs to supervise, and data directories."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from enginehouse.local.datadir import DataDirectory
from enginehouse.local.process import Process, ProcessSpec
from enginehouse.local.state import ProcessState

# Ready once it has written its marker; stops on SIGTERM unless told to ignore it.
PROGRAM = """
import os, pathlib, signal, sys, time
marker, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "dies":
    print("something to say", flush=True)
    print("the last words", flush=True)
    sys.exit(3)
crashed = marker.with_suffix(".crashed")
if mode == "crashes" or (mode == "crashes-once" and not crashed.exists()):
    crashed.touch()
    os.kill(os.getpid(), signal.SIGSEGV)
marker.write_text(str(os.getpid()))
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., DataDirectory]:
    def make(name: str = "data", **options: Any) -> DataDirectory:
        return DataDirectory(tmp_path / name, **options)

    return make


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[..., Process]]:
    """Create supervised processes, which are stopped at the end."""
    made: list[Process] = []

    def make(mode: str = "serves", *, name: str = "child", **options: Any) -> Process:
        marker = tmp_path / f"{name}.ready"

        async def probe(pid: int) -> bool:
            return marker.exists() and marker.read_text() == str(pid)

        spec = ProcessSpec(
            **{
                "name": name,
                "command": [sys.executable, "-c", PROGRAM, str(marker), mode],
                "environment": dict(os.environ),
                "log": tmp_path / f"{name}.log",
                "probe": probe,
                "stop_timeout_s": 1.0,
                **options,
            }
        )
        made.append(Process(spec, state=ProcessState(name=name), changed=lambda: None))
        return made[-1]

    yield make
    await asyncio.gather(*(process.stop() for process in made))


async def until(condition: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


@pytest.fixture
def wait() -> Any:
    return until
