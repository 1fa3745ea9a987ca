"""Background work that lives as long as its owner: started once, watched, and ended without surprises."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class BackgroundTask:
    """A coroutine that runs beside its owner until it is closed.

    - A failure is logged with its traceback at once, under the task's name, and kept in `failure`. Nothing else
      happens: the owner goes on, so work that must survive its errors catches them itself.
    - `close()` cancels the coroutine and waits until it has ended. It never raises what the coroutine raised, neither
      then nor before, so whatever is closed next is closed. It can be called before `start()` and more than once.
    - If the caller of `close()` is itself cancelled while waiting, that `CancelledError` is raised as usual.
    - A coroutine that suppresses its cancellation keeps `close()` waiting for as long as it goes on.

    Args:
        work: makes the coroutine; called by `start()`.
        name: names the task in logs and in `asyncio.all_tasks()`.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, object]], *, name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[object] | None = None
        self._closed = False
        self.failure: BaseException | None = None
        """The exception that ended the coroutine; None while it runs, and after a normal end or a cancellation."""

    @property
    def running(self) -> bool:
        """Return whether the coroutine was started and has not ended."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Start the coroutine in the running loop.

        Raises:
            RuntimeError: it was started or closed before.
        """
        if self._task is not None or self._closed:
            raise RuntimeError(f"background task {self._name!r} cannot be started again; make a new one")
        self._task = asyncio.create_task(self._work(), name=self._name)
        self._task.add_done_callback(self._ended)

    async def wait(self) -> None:
        """Wait until the coroutine has ended, however it ends; return at once if it was never started."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Cancel the coroutine and wait until it has ended."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            # Unlike awaiting the task, this raises CancelledError only if the caller is cancelled.
            await asyncio.wait([self._task])

    def _ended(self, task: asyncio.Task[object]) -> None:
        if task.cancelled():
            return
        self.failure = task.exception()
        if self.failure is not None:
            _log.error("background task %s failed", self._name, exc_info=self.failure)


class TaskSet:
    """Short coroutines that run beside their owner, as many as it spawns, until they end or it is closed.

    As with `BackgroundTask`, a failure is logged with its traceback under the task's name, and `close()` does not raise
    it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, object], *, name: str) -> None:
        """Run the coroutine in the running loop; the name is for logs and `asyncio.all_tasks()`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def wait(self) -> None:
        """Wait until the coroutines that run now have ended, however they end."""
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def close(self) -> None:
        """Cancel the coroutines that still run and wait until they have ended."""
        # A coroutine that is being cancelled may spawn another.
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("background task %s failed", task.get_name(), exc_info=task.exception())


async def in_task() -> None:
    """Return in a task: at once where there is one, else once the coroutine goes on as one.

    A coroutine may be run outside a task up to its first wait, to save the task where it never waits. Whatever needs a
    current task before that, as `asyncio.timeout` does, awaits this first.
    """
    if asyncio.current_task() is None:
        await asyncio.sleep(0)


async def close_all(*steps: Callable[[], Awaitable[object]]) -> None:
    """Run every step of a teardown, in order, whatever becomes of the others.

    A step that fails is logged with its traceback. If the caller is cancelled, the `CancelledError` is raised after the
    last step.
    """
    cancelled: BaseException | None = None
    for step in steps:
        try:
            await step()
        except Exception:
            _log.exception("a step of the teardown failed")
        except BaseException as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
