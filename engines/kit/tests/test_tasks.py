"""Background tasks: a failure is logged and kept, and never stops those who close."""

from __future__ import annotations

import asyncio
import logging

import pytest

from enginehouse.kit.tasks import BackgroundTask, TaskSet, close_all


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise ValueError("the disk is gone")


async def test_it_runs_until_it_is_closed() -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            cancelled.set()

    task = BackgroundTask(work, name="worker")
    assert not task.running
    task.start()
    await asyncio.sleep(0)
    assert task.running
    await task.close()
    assert cancelled.is_set()
    assert not task.running
    assert task.failure is None


async def test_a_failure_is_logged_at_once_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    task = BackgroundTask(fail, name="worker")
    task.start()
    await task.wait()
    await asyncio.sleep(0)
    assert isinstance(task.failure, ValueError)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "worker" in record.getMessage()
    assert record.exc_info is not None
    await task.close()


async def test_closing_never_raises_what_the_work_raised() -> None:
    async def fail_when_cancelled() -> None:
        try:
            await forever()
        finally:
            raise ValueError("cleaning up failed")

    task = BackgroundTask(fail_when_cancelled, name="worker")
    task.start()
    await asyncio.sleep(0)
    await task.close()
    await asyncio.sleep(0)
    assert isinstance(task.failure, ValueError)


async def test_closing_twice_or_unstarted_does_nothing() -> None:
    task = BackgroundTask(forever, name="worker")
    await task.close()
    with pytest.raises(RuntimeError, match="cannot be started again"):
        task.start()
    started = BackgroundTask(forever, name="worker")
    started.start()
    await started.close()
    await started.close()
    with pytest.raises(RuntimeError, match="cannot be started again"):
        started.start()


async def test_a_cancelled_closer_is_cancelled() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await forever()
        finally:
            await release.wait()

    task = BackgroundTask(stubborn, name="worker")
    task.start()
    await asyncio.sleep(0)
    closer = asyncio.create_task(task.close())
    await asyncio.sleep(0)
    closer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closer
    release.set()
    await task.close()
    assert not task.running


async def test_a_closed_set_has_cancelled_what_still_ran() -> None:
    tasks = TaskSet()
    tasks.spawn(forever(), name="one")
    tasks.spawn(forever(), name="two")
    await asyncio.sleep(0)
    assert len(tasks) == 2
    await tasks.close()
    assert len(tasks) == 0
    await tasks.close()


async def test_a_failure_in_a_set_is_logged_and_not_raised_by_close(caplog: pytest.LogCaptureFixture) -> None:
    tasks = TaskSet()
    tasks.spawn(fail(), name="reader")
    tasks.spawn(forever(), name="other")
    with caplog.at_level(logging.ERROR):
        await tasks.close()
        await asyncio.sleep(0)
    assert len(tasks) == 0
    # The failing one was either cancelled before it ran or logged; give another the time to fail.
    tasks.spawn(fail(), name="reader")
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(10):
            while len(tasks):
                await asyncio.sleep(0)
    assert "background task reader failed" in caplog.text
    await tasks.close()


async def test_every_step_of_a_teardown_runs(caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []

    async def step(name: str, error: BaseException | None = None) -> None:
        ran.append(name)
        if error is not None:
            raise error

    await close_all(lambda: step("a", RuntimeError("a defect")), lambda: step("b"))
    assert ran == ["a", "b"]
    assert "a defect" in caplog.text
    with pytest.raises(asyncio.CancelledError):
        await close_all(lambda: step("c", asyncio.CancelledError()), lambda: step("d"))
    assert ran == ["a", "b", "c", "d"]
