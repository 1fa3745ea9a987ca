"""Orphans of a killed supervisor, and process identity."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from enginehouse.local.orphans import stop_orphans
from enginehouse.local.pids import find_process, process_start_id
from enginehouse.local.state import Condition, MeshState, Phase, ProcessState

# A supervisor of one child, which prints the child's pid and waits.
SUPERVISOR = """
import asyncio, os, pathlib, sys
from enginehouse.local.process import Process, ProcessSpec
from enginehouse.local.state import ProcessState

async def probe(pid):
    return pathlib.Path(sys.argv[1]).exists()

async def main():
    child = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
    log = pathlib.Path(sys.argv[1] + ".log")
    spec = ProcessSpec(name="child", command=child, environment=dict(os.environ), log=log, probe=probe)
    process = Process(spec, state=ProcessState(name="child"), changed=lambda: None)
    await process.start()
    print(process.state.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
CHILD = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text("up")
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not gone(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_children_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(tmp_path / "up"), CHILD], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    child = int(supervisor.stdout.readline())
    assert not gone(child)
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    wait_gone(child)


@pytest.fixture
def stubborn() -> Iterator[subprocess.Popen[str]]:
    """A process that ignores SIGTERM."""
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def recorded(data: Any, *, pid: int, start_id: str) -> None:
    data.run.mkdir(parents=True)
    child = ProcessState(
        name="child", condition=Condition.READY, pid=pid, start_id=start_id, stop_signal=int(signal.SIGTERM)
    )
    MeshState(
        phase=Phase.READY, data=str(data.root), url="", pid=0, start_id="", started_at=0.0, processes=[child]
    ).write(data.state)


def test_a_process_that_outlived_its_supervisor_is_stopped(make_data: Any, stubborn: subprocess.Popen[str]) -> None:
    data = make_data()
    recorded(data, pid=stubborn.pid, start_id=process_start_id(stubborn.pid))
    assert stop_orphans(data, timeout_s=0.3) == ["child"]
    assert gone(stubborn.pid)


def test_another_process_with_the_pid_is_not_touched(make_data: Any, stubborn: subprocess.Popen[str]) -> None:
    data = make_data()
    boot = process_start_id(stubborn.pid).rpartition(":")[0]
    recorded(data, pid=stubborn.pid, start_id=f"{boot}:1")
    assert stop_orphans(data) == []
    assert stubborn.poll() is None


def test_the_holder_of_a_lock_is_known_while_it_runs(make_data: Any) -> None:
    data = make_data()
    assert data.holder() is None
    with data.lock():
        holder = data.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
    (data.root / "lock").write_text(f"{os.getpid()} another-start-id\n")
    assert data.holder() is None


def test_a_process_is_found_by_pid_and_start_id() -> None:
    start_id = process_start_id(os.getpid())
    assert find_process(os.getpid(), start_id) is not None
    assert find_process(os.getpid(), "") is None
    assert find_process(0, start_id) is None
    assert process_start_id(2**22 + 1) == ""


def test_a_state_survives_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = MeshState(
        phase=Phase.READY,
        data="d",
        url="u",
        pid=3,
        start_id="b",
        started_at=1.5,
        notices=["n"],
        endpoints={"public": "127.0.0.1:1"},
        processes=[ProcessState(name="x", condition=Condition.BACKOFF, pid=4)],
    )
    state.write(path)
    assert MeshState.read(path) == state
    path.write_text(json.dumps({"phase": "ready"}))
    assert MeshState.read(path) is None
    assert MeshState.read(tmp_path / "none") is None
