"""A supervised process, with real children."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from enginehouse.local.errors import LocalError
from enginehouse.local.state import Condition


async def test_a_process_becomes_ready_and_stops(run: Any, wait: Any) -> None:
    process = run()
    await process.start()
    assert process.state.condition is Condition.READY
    pid = process.state.pid
    assert psutil.pid_exists(pid)
    assert os.getsid(pid) == pid
    await process.stop()
    assert not psutil.pid_exists(pid)
    assert (process.state.condition, process.state.pid) == (Condition.STOPPED, 0)


async def test_a_killed_process_is_restarted_after_a_growing_backoff(run: Any, wait: Any) -> None:
    process = run()
    await process.start()
    waits = []
    for restarts in range(1, 4):
        victim = process.state.pid
        os.kill(victim, signal.SIGKILL)
        await wait(lambda: process.state.condition is Condition.BACKOFF)
        assert "SIGKILL" in process.state.note
        ended = time.monotonic()
        await wait(lambda: process.state.condition is Condition.READY)
        waits.append(time.monotonic() - ended)
        assert process.state.pid != victim
        assert process.state.restarts == restarts
    assert waits[2] > 0.35
    assert waits[0] < waits[2]


async def test_a_process_that_ends_before_it_is_ready_fails_the_start_with_its_log(run: Any) -> None:
    process = run("dies")
    with pytest.raises(LocalError, match=r"exited with code 3 .* before it was ready: the last words \(log: .*\)"):
        await process.start()
    assert process.state.condition is Condition.STOPPED
    assert process.state.restarts == 0


async def test_a_process_that_crashes_before_it_is_ready_is_started_once_more(run: Any) -> None:
    process = run("crashes-once")
    await process.start()
    assert (process.state.condition, process.state.restarts) == (Condition.READY, 1)
    process = run("crashes", name="hopeless")
    with pytest.raises(LocalError, match=r"was killed by SIGSEGV .* before it was ready"):
        await process.start()
    assert (process.state.condition, process.state.restarts) == (Condition.STOPPED, 1)


async def test_a_missing_program_fails_the_start(run: Any) -> None:
    process = run(command=["/no/such/program"])
    with pytest.raises(LocalError, match="/no/such/program cannot be run: No such file"):
        await process.start()


async def test_a_process_that_does_not_stop_is_killed(run: Any) -> None:
    process = run("stubborn", stop_timeout_s=0.3)
    await process.start()
    pid = process.state.pid
    await process.stop()
    assert not psutil.pid_exists(pid)
    assert "killed" in process.state.note


async def test_a_program_that_disappears_is_retried_until_it_is_back(run: Any, wait: Any, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.symlink_to(sys.executable)
    options = run().spec.command[1:3]
    process = run(name="linked", command=[str(program), *options, str(tmp_path / "linked.ready"), "serves"])
    await process.start()
    program.unlink()
    os.kill(process.state.pid, signal.SIGKILL)
    await wait(lambda: "cannot be run" in process.state.note)
    program.symlink_to(sys.executable)
    await wait(lambda: process.state.condition is Condition.READY)


async def test_stopping_during_the_backoff_starts_nothing(run: Any, wait: Any) -> None:
    process = run()
    await process.start()
    os.kill(process.state.pid, signal.SIGKILL)
    await wait(lambda: process.state.condition is Condition.BACKOFF)
    await process.stop()
    assert process._supervision is not None
    assert process._supervision.done(), "nobody is left to start it"
    assert process.state.condition is Condition.STOPPED
    assert process.state.pid == 0
