"""A busy engine whose callers hang up: no child dies of its own, and nobody who waits meets a failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

# A server as an engine runs it: on its loop, busy with gRPC, with children that are killed as their callers leave.
ENGINE = """
import asyncio, json, logging, random
import enginehouse.kit.server as server
import grpc
from enginehouse.engines.voice.workers import WorkerError, WorkerPool
from engines.voice.tests.workers import echo_child as child

class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())

async def main():
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    choose = random.Random(9)
    doors = grpc.aio.server()
    port = doors.add_insecure_port("127.0.0.1:0")
    await doors.start()
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}") for _ in range(4)]
    done = asyncio.Event()

    async def load():
        while not done.is_set():
            await asyncio.gather(*(channel.unary_unary("/a/b")(b"") for channel in channels), return_exceptions=True)

    pool = WorkerPool(module="engines.voice.tests.workers.echo_child", size=4, name="echo")
    answered, left, failures = 0, 0, []

    async def ask(index):
        nonlocal answered
        payload = index.to_bytes(4, "big") * 5000
        async with pool.worker() as worker:
            found = [answer async for answer in worker.ask(child.ECHO, payload)]
        assert found == [(child.ECHO, payload)]
        answered += 1

    async def hang_up():
        async with pool.worker() as worker:
            async for _ in worker.ask(child.HANG, b"60"):
                # Now and then before the child is at work, and before it has even started.
                await asyncio.sleep(60)

    async def caller(index):
        nonlocal left
        try:
            if index % 3:
                await ask(index)
                return
            hanging = asyncio.create_task(hang_up())
            await asyncio.wait([hanging], timeout=choose.random())
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)
            left += 1
        except WorkerError as error:
            failures.append(str(error))

    loading = asyncio.create_task(load())
    for batch in range(0, 180, 6):
        await asyncio.gather(*(caller(index) for index in range(batch, batch + 6)))
    done.set()
    await loading
    await pool.close()
    for channel in channels:
        await channel.close()
    await doors.stop(None)
    print(json.dumps({"answered": answered, "left": left, "failures": failures, "warnings": warnings.seen}))

server.run(main())
"""


def test_callers_that_hang_up_under_load_cost_nobody_an_answer(pytestconfig: pytest.Config) -> None:
    path = os.pathsep.join([str(pytestconfig.rootpath), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "PYTHONPATH": path, "GRPC_ENABLE_FORK_SUPPORT": "true"}
    ran = subprocess.run([sys.executable, "-c", ENGINE], capture_output=True, text=True, timeout=240, env=environ)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"answered": 120, "left": 60, "failures": [], "warnings": []}
    assert "fork" not in ran.stderr
