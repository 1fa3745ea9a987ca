"""Child processes of servers that are busy with gRPC, whose fork handlers must never run in them."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from enginehouse.kit.child_process import DEVNULL, PIPE, start_child

BUSY = """
import asyncio, sys
import enginehouse.kit.server as server
import grpc
from enginehouse.kit.child_process import DEVNULL, PIPE, start_child

async def main():
    doors = grpc.aio.server()
    port = doors.add_insecure_port("127.0.0.1:0")
    await doors.start()
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}") for _ in range(4)]
    done = asyncio.Event()

    async def call():
        while not done.is_set():
            await asyncio.gather(*(channel.unary_unary("/a/b")(b"") for channel in channels), return_exceptions=True)

    calling = asyncio.create_task(call())
    ended = []
    for _ in range(60):
        child = await start_child(["echo", "alive"], stdout=PIPE)
        ended.append((child.stdout is not None and await child.stdout.read(), await child.wait()))
    done.set()
    await calling
    for channel in channels:
        await channel.close()
    await doors.stop(None)
    print(ended.count((b"alive\\n", 0)))

server.run(main())
"""
PARENT = """
import asyncio, signal
from enginehouse.kit.child_process import start_child

async def main():
    child = await start_child(["sleep", "60"], parent_death_signal=signal.SIGKILL)
    print(child.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("handlers", ["true", "false", ""])
def test_no_fork_handler_runs_in_a_child(handlers: str) -> None:
    # Whatever the environment says of gRPC's handlers, and where it says nothing, as a server's does.
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    if handlers:
        environ["GRPC_ENABLE_FORK_SUPPORT"] = handlers
    command = [sys.executable, "-c", BUSY]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90, env=environ)
    assert ran.stdout == "60\n"
    assert "fork" not in ran.stderr


async def test_streams_and_the_exit_status() -> None:
    child = await start_child(["cat"], stdin=PIPE, stdout=PIPE, env={"PATH": os.environ["PATH"]})
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.returncode is None
    child.stdin.write(b"word")
    await child.stdin.drain()
    assert await child.stdout.readexactly(4) == b"word"
    assert await child.communicate() == (b"", b"")
    assert child.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_the_signal_that_ended_it_is_told_at_once(number: signal.Signals) -> None:
    child = await start_child(["sleep", "60"], stdout=DEVNULL)
    child.send_signal(number)
    while child.returncode is None:
        os.sched_yield()
    assert child.returncode == await child.wait() == -number
    # Nobody else may have the pid by now.
    child.kill()


@pytest.mark.parametrize("dies", [None, signal.SIGTERM])
async def test_a_program_that_is_not_there_is_told(dies: signal.Signals | None, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await start_child([str(tmp_path / "nothing")], parent_death_signal=dies)
    (tmp_path / "text").write_text("no program")
    with pytest.raises(PermissionError):
        await start_child([str(tmp_path / "text")], parent_death_signal=dies)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_child_dies_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    while child.name() != "sleep":
        os.sched_yield()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
async def test_another_user() -> None:
    child = await start_child(["id", "-u"], stdout=PIPE, os_user="nobody")
    assert await child.communicate() == (f"{pwd.getpwnam('nobody').pw_uid}\n".encode(), b"")
