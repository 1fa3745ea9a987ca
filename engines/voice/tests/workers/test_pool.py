"""Child processes: frames in and out, deaths, queues, and no leaks."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from enginehouse.engines.voice.workers import DONE, Worker, WorkerDied, WorkerError
from engines.voice.tests.workers import echo_child as child
from engines.voice.tests.workers.conftest import MakePool


async def ask(worker: Worker, kind: int, payload: bytes = b"") -> list[tuple[int, bytes]]:
    return [answer async for answer in worker.ask(kind, payload)]


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, 5, 70_000, 3_000_000])
async def test_frames_come_back_as_they_were(make_pool: MakePool, size: int) -> None:
    payload = os.urandom(size)
    async with make_pool().worker() as worker:
        assert await ask(worker, child.ECHO, payload) == [(child.ECHO, payload)]
        assert not worker.busy


async def test_children_are_reused_and_get_their_arguments(make_pool: MakePool) -> None:
    pool = make_pool(arguments=["--one", "two"], nice=3)
    await pool.start()
    answers = []
    for _ in range(3):
        async with pool.worker() as worker:
            answers.append((await ask(worker, child.WHO))[0][1].decode())
    own = os.nice(0)
    assert answers == [f"{pool.pids[0]} 1 {min(19, own + 3)} --one two"] * 3


async def test_several_frames_are_answered_in_order(make_pool: MakePool) -> None:
    async with make_pool().worker() as worker:
        for index in range(5):
            await worker.send(child.ECHO, bytes([index]))
        got = [await worker.receive() for _ in range(10)]
        assert not worker.busy
    assert got == [frame for index in range(5) for frame in ((child.ECHO, bytes([index])), (DONE, b""))]


async def test_prints_do_not_disturb_frames(make_pool: MakePool) -> None:
    async with make_pool().worker() as worker:
        assert await ask(worker, child.PRINT) == [(child.PRINT, b"printed")]
        assert await ask(worker, child.READ_STDIN) == [(child.READ_STDIN, b"")]
        with pytest.raises(WorkerDied, match=r"from C"):
            await ask(worker, child.DIE, str(int(signal.SIGKILL)).encode())


@pytest.mark.parametrize(("name"), ["SIGKILL", "SIGSEGV", "SIGABRT"])
async def test_a_death_is_named_and_the_next_caller_gets_a_new_child(make_pool: MakePool, name: str) -> None:
    pool = make_pool()
    with pytest.raises(WorkerDied, match=f"the echo process was ended by {name}") as died:
        async with pool.worker() as worker:
            first = worker.pid
            await ask(worker, child.DIE, str(int(signal.Signals[name])).encode())
    assert died.value.signal_name == name
    async with pool.worker() as worker:
        assert worker.pid != first
        assert await ask(worker, child.ECHO, b"again") == [(child.ECHO, b"again")]


async def test_an_exception_in_the_child_is_quoted(make_pool: MakePool) -> None:
    with pytest.raises(WorkerDied, match=r"ended with status 1; .*ValueError: the file is odd") as died:
        async with make_pool().worker() as worker:
            await ask(worker, child.FAIL, b"the file is odd")
    assert (died.value.signal_name, died.value.returncode) == ("", 1)


async def test_reserved_kinds_are_refused_on_both_sides(make_pool: MakePool) -> None:
    pool = make_pool()
    async with pool.worker() as worker:
        for kind in (0, 250, 255, -1):
            with pytest.raises(ValueError, match=f"invalid kind of frame: {kind}"):
                await worker.send(kind)
    with pytest.raises(WorkerDied, match=r"invalid kind of frame: 255"):
        async with pool.worker() as worker:
            await ask(worker, child.BAD_KIND, b"255")


async def test_frames_are_bounded_both_ways(make_pool: MakePool) -> None:
    pool = make_pool(max_frame_bytes=60_000)
    async with pool.worker() as worker:
        with pytest.raises(ValueError, match="at most 60000 bytes, not 60001"):
            await worker.send(child.ECHO, bytes(60_001))
    with pytest.raises(WorkerDied, match="65536 bytes; at most 60000"):
        async with pool.worker() as worker:
            await ask(worker, child.FLOOD, b"1")


async def test_a_child_waits_for_its_reader(make_pool: MakePool) -> None:
    async with make_pool().worker() as worker:
        await worker.send(child.FLOOD, b"1000")
        process = psutil.Process(worker.pid)
        # The pipe is full when it sleeps in a write.
        async with asyncio.timeout(10):
            while not worker.stderr_tail or process.status() != psutil.STATUS_SLEEPING:
                await asyncio.sleep(0.01)
        written = int(worker.stderr_tail.split()[-1])
        assert written < 40
        got = 0
        while (await worker.receive())[0] != DONE:
            got += 1
        assert got == 1000


async def test_a_busy_child_is_killed_when_its_caller_leaves(make_pool: MakePool) -> None:
    pool = make_pool()
    async with pool.worker() as worker:
        first = worker.pid
        await worker.send(child.HANG, b"60")
        assert await worker.receive() == (child.HANG, b"hanging")
        assert worker.busy
    await until_gone(first)
    async with pool.worker() as worker:
        assert worker.pid != first


async def test_a_cancelled_caller_frees_the_place_at_once(make_pool: MakePool) -> None:
    pool = make_pool()
    hanging = asyncio.Event()

    async def hang() -> None:
        async with pool.worker() as worker:
            async for _ in worker.ask(child.HANG, b"60"):
                hanging.set()

    task = asyncio.create_task(hang())
    await hanging.wait()
    started = time.monotonic()
    task.cancel()
    async with pool.worker() as worker:
        assert await ask(worker, child.ECHO, b"x") == [(child.ECHO, b"x")]
    assert time.monotonic() - started < 10
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_exception_of_the_caller_kills_even_an_idle_child(make_pool: MakePool) -> None:
    pool = make_pool(settle_s=5)
    with pytest.raises(KeyError):
        async with pool.worker() as worker:
            first = worker.pid
            await ask(worker, child.ECHO)
            raise KeyError
    async with pool.worker() as worker:
        assert worker.pid != first


async def test_a_child_may_settle_and_serve_on(make_pool: MakePool) -> None:
    pool = make_pool(settle_s=10)
    async with pool.worker() as worker:
        first = worker.pid
        await worker.send(child.FLOOD, b"100")
        await worker.receive()
    async with pool.worker() as worker:
        assert worker.pid == first
        assert await ask(worker, child.ECHO, b"clean") == [(child.ECHO, b"clean")]


async def test_a_child_that_does_not_settle_is_killed(make_pool: MakePool) -> None:
    pool = make_pool(settle_s=0.05)
    async with pool.worker() as worker:
        first = worker.pid
        await worker.send(child.HANG, b"60")
    async with pool.worker() as worker:
        assert worker.pid != first
    await until_gone(first)


async def test_a_send_that_was_cut_short_is_never_reused(make_pool: MakePool) -> None:
    pool = make_pool(settle_s=10)
    async with pool.worker() as worker:
        first = worker.pid
        psutil.Process(first).suspend()
        # More than the pipe's capacity while nobody reads.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await worker.send(child.ECHO, bytes(8_000_000))
        assert worker.busy
        psutil.Process(first).resume()
    async with pool.worker() as worker:
        assert worker.pid != first
        assert await ask(worker, child.ECHO, b"x") == [(child.ECHO, b"x")]


async def test_callers_wait_in_order_and_children_are_bounded(make_pool: MakePool) -> None:
    pool = make_pool(size=2)
    order: list[int] = []
    most = 0

    async def work(index: int) -> None:
        nonlocal most
        async with pool.worker() as worker:
            order.append(index)
            most = max(most, len(pool.pids))
            await ask(worker, child.ECHO, b"x")

    tasks = []
    for index in range(12):
        tasks.append(asyncio.create_task(work(index)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert most == 2
    assert sorted(order) == list(range(12))
    # The first two have a place each and start its child, in any order.
    assert [index for index in order if index > 1] == list(range(2, 12))


async def test_a_child_that_died_idle_is_replaced(make_pool: MakePool) -> None:
    pool = make_pool()
    await pool.start()
    (first,) = pool.pids
    os.kill(first, signal.SIGKILL)
    await until_gone(first)
    async with pool.worker() as worker:
        assert worker.pid != first
        assert await ask(worker, child.ECHO, b"x") == [(child.ECHO, b"x")]


async def test_start_reports_the_failure(make_pool: MakePool) -> None:
    with pytest.raises(WorkerError, match=r"echo process did not start: .* status 3; .*cannot find the voices"):
        await make_pool(arguments=["broken"]).start()
    with pytest.raises(WorkerError, match=r"No module named .?enginehouse\.nothing"):
        await make_pool(module="enginehouse.nothing").start()
    with pytest.raises(WorkerError, match=r"was not ready after 1\.5 s; its last output: loading"):
        await make_pool(arguments=["slow"], ready_timeout_s=1.5).start()
    with pytest.raises(WorkerError, match=r"not ready|did not start"):
        await make_pool(module="json.tool", ready_timeout_s=0.5).start()
    with pytest.raises(ValueError, match="invalid pool size: 0"):
        make_pool(size=0)


async def test_a_child_that_dies_before_it_is_ready_is_started_once_more(
    make_pool: MakePool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mark = tmp_path / "died"
    async with make_pool(arguments=["dies-once", str(mark)]).worker() as worker:
        assert await ask(worker, child.ECHO, b"x") == [(child.ECHO, b"x")]
    assert mark.exists()
    assert "the echo process was ended by SIGSEGV before it was ready; starting it once more" in caplog.text


async def test_close_ends_everything(make_pool: MakePool) -> None:
    pool = make_pool(size=2)
    hanging = asyncio.Event()

    async def hang() -> None:
        async with pool.worker() as worker:
            async for _ in worker.ask(child.HANG, b"60"):
                hanging.set()

    async def wait() -> None:
        async with pool.worker():
            pass

    async with pool.worker():
        user = asyncio.create_task(hang())
        await hanging.wait()
        waiter = asyncio.create_task(wait())
        await asyncio.sleep(0)
        pids = pool.pids
        assert len(pids) == 2
        closing = asyncio.create_task(pool.close())
        with pytest.raises(WorkerDied):
            await user
    await closing
    with pytest.raises(WorkerError, match="the echo pool is closed"):
        await waiter
    with pytest.raises(WorkerError, match="the echo pool is closed"):
        await pool.start()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_children_ignore_the_terminals_and_the_supervisors_signals(make_pool: MakePool) -> None:
    async with make_pool().worker() as worker:
        assert os.getsid(worker.pid) != os.getsid(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker.pid, number)
        assert await ask(worker, child.ECHO, b"still here") == [(child.ECHO, b"still here")]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_children_die_with_their_parent(pytestconfig: pytest.Config) -> None:
    program = textwrap.dedent("""
        import asyncio, os, sys
        from enginehouse.engines.voice.workers import WorkerPool

        async def main():
            pool = WorkerPool(module="engines.voice.tests.workers.echo_child", size=2, name="echo")
            async with pool.worker() as idle, pool.worker() as busy:
                await busy.send(4, b"600")
                await busy.receive()
                print(idle.pid, busy.pid, flush=True)
                await asyncio.sleep(600)

        asyncio.run(main())
    """)
    path = os.pathsep.join([str(pytestconfig.rootpath), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


async def test_five_seconds_of_speech_pass_in_little_time(make_pool: MakePool) -> None:
    payload = os.urandom(5 * 22_050 * 2)
    async with make_pool().worker() as worker:
        times = []
        for _ in range(20):
            started = time.perf_counter()
            assert len((await ask(worker, child.ECHO, payload))[0][1]) == len(payload)
            times.append(time.perf_counter() - started)
    # There and back; about a millisecond each way on an idle machine.
    assert min(times) < 0.02
