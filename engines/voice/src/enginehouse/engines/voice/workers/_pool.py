"""Pool of child processes, each lent to one caller at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Sequence

from enginehouse.engines.voice.workers._errors import WorkerDied, WorkerError
from enginehouse.engines.voice.workers._frames import MAX_FRAME_BYTES
from enginehouse.engines.voice.workers._worker import Worker

# The time that `close` waits for callers to notice that their child is gone.
_LEAVE_S = 5.0


class WorkerPool:
    """Children of one kind on one event loop.

    Args:
        module: what the children run: `python -m MODULE`, whose main calls `serve`.
        size: the maximum number of children; further callers wait, in order.
        arguments: the children's command line.
        name: the children's name in errors, such as "decoder".
        ready_timeout_s: the time that a child may take until it is ready.
        settle_s: the time that an abandoned child may take to finish its work, while its frames are dropped and only
            the next caller waits; after that it is killed. 0 kills it at once.
        nice: the difference between the engine's priority and the children's.
        max_frame_bytes: the maximum of a frame's bytes, in either direction.
    """

    def __init__(
        self,
        *,
        module: str,
        size: int,
        name: str,
        arguments: Sequence[str] = (),
        ready_timeout_s: float = 20,
        settle_s: float = 0,
        nice: int = 0,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        if size < 1:
            raise ValueError(f"invalid pool size: {size}; must be 1 or more")
        self._module = module
        self._size = size
        self._name = name
        self._arguments = tuple(arguments)
        self._ready_timeout_s = ready_timeout_s
        self._settle_s = settle_s
        self._nice = nice
        self._max_frame_bytes = max_frame_bytes
        # Wakes its waiters in order of arrival.
        self._places = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._lent: set[Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._none_lent = asyncio.Event()
        self._none_lent.set()
        self._closed = False

    @property
    def size(self) -> int:
        """The maximum number of children."""
        return self._size

    @property
    def pids(self) -> Sequence[int]:
        """The process ids of the running children."""
        return [worker.pid for worker in (*self._idle, *self._lent)]

    async def start(self) -> None:
        """Start a first child to check that it works; raise WorkerError with its last output otherwise."""
        async with self.worker():
            pass

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncGenerator[Worker, None]:
        """Lend a child for the length of the block, in the order of the callers. Raises WorkerError.

        If the block ends normally and the child is done, it returns to the pool. Otherwise (it is not done with its
        frames, or the block raises) it is killed, and a new one is started when needed. With `settle_s`, a child whose
        caller was cancelled or left it at work gets that time to finish instead.
        """
        await self._places.acquire()
        try:
            worker = await self._take()
        except BaseException:
            self._places.release()
            raise
        self._lent.add(worker)
        self._none_lent.clear()
        try:
            yield worker
        except (asyncio.CancelledError, GeneratorExit):
            self._leave(worker, settle=True)
            raise
        except BaseException:
            self._drop(worker)
            raise
        self._leave(worker, settle=worker.busy)

    async def close(self) -> None:
        """Stop all children. Callers that use one get WorkerDied, waiting callers get WorkerError."""
        self._closed = True
        for worker in (*self._idle, *self._lent):
            worker.kill()
        for worker in self._idle:
            self._spawn(worker.end())
        self._idle.clear()
        # Callers notice their child's death and leave; those that never use it again are not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self._none_lent.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _take(self) -> Worker:
        self._check_open()
        while self._idle:
            # The most recently used one: its memory is warm.
            worker = self._idle.pop()
            if worker.alive:
                return worker
            self._spawn(worker.end())
        worker = await Worker.start(
            name=self._name,
            module=self._module,
            arguments=self._arguments,
            max_frame_bytes=self._max_frame_bytes,
            nice=self._nice,
            ready_timeout_s=self._ready_timeout_s,
        )
        try:
            # The pool may have been closed while the child started.
            self._check_open()
        except WorkerError:
            await worker.end()
            raise
        return worker

    def _check_open(self) -> None:
        if self._closed:
            raise WorkerError(f"the {self._name} pool is closed")

    def _leave(self, worker: Worker, *, settle: bool) -> None:
        if self._closed or not worker.whole or not worker.alive or (settle and self._settle_s <= 0):
            self._drop(worker)
        elif settle:
            self._spawn(self._settle(worker))
        else:
            self._give_back(worker)

    async def _settle(self, worker: Worker) -> None:
        """Wait up to `settle_s` for an abandoned child to finish; its place stays taken meanwhile."""
        try:
            async with asyncio.timeout(self._settle_s):
                await worker.settle()
        except (TimeoutError, WorkerDied):
            self._drop(worker)
        else:
            self._give_back(worker)

    def _give_back(self, worker: Worker) -> None:
        if self._closed:
            self._drop(worker)
            return
        self._return(worker)
        self._idle.append(worker)

    def _drop(self, worker: Worker) -> None:
        worker.kill()
        self._return(worker)
        self._spawn(worker.end())

    def _return(self, worker: Worker) -> None:
        self._lent.discard(worker)
        if not self._lent:
            self._none_lent.set()
        self._places.release()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
