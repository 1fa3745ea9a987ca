"""A server that is busy with gRPC starts child processes that live."""

from __future__ import annotations

import os
import subprocess
import sys

BUSY = """
import asyncio
import enginehouse.kit.server as server
import grpc

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
    for _ in range(30):
        child = await asyncio.create_subprocess_exec("true")
        ended.append(await child.wait())
    done.set()
    await calling
    for channel in channels:
        await channel.close()
    await doors.stop(None)
    print(ended.count(0))

server.run(main())
"""


def test_grpcs_fork_handlers_are_off() -> None:
    # A server's environment, where nothing is set; that of the tests has it off.
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    command = [sys.executable, "-c", BUSY]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environ)
    assert ran.stdout == "30\n"
    assert "fork" not in ran.stderr
