"""Lends out children, one caller at a time each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Sequence

from enginehouse.engines.voice.workers._errors import WorkerDied, WorkerError
from enginehouse.engines.voice.workers._frames import MAX_FRAME_BYTES
from enginehouse.engines.voice.workers._worker import Worker

# How long `close` waits for callers to notice that their child is gone.
_LEAVE_S = 5.0


class WorkerPool:
    """Children of one kind, on one event loop.

    Args:
        module: what the children run: `python -m MODULE`, whose main calls `serve`.
        size: the most children at once; further callers wait, in order.
        arguments: the children's command line.
        name: what errors call a child, such as "decoder".
        ready_timeout_s: how long a child may take until it serves.
        settle_s: how long a child that was left in the middle of its work may take to finish it, while its frames are
            dropped and nobody waits but the next caller; later than that it is killed. 0 kills it at once.
        nice: how much lower than the engine's the children's priority is.
        max_frame_bytes: the most bytes of a frame, either way.
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
            raise ValueError(f"a pool has at least one child, not {size}")
        self._module = module
        self._size = size
        self._name = name
        self._arguments = tuple(arguments)
        self._ready_timeout_s = ready_timeout_s
        self._settle_s = settle_s
        self._nice = nice
        self._max_frame_bytes = max_frame_bytes
        # Wakes its waiters in the order of their coming.
        self._places = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._lent: set[Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._none_lent = asyncio.Event()
        self._none_lent.set()
        self._closed = False

    @property
    def size(self) -> int:
        """The most children at once."""
        return self._size

    @property
    def pids(self) -> Sequence[int]:
        """The children that run."""
        return [worker.pid for worker in (*self._idle, *self._lent)]

    async def start(self) -> None:
        """Starts a first child, which proves that it works; raises WorkerError with its last words otherwise."""
        async with self.worker():
            pass

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncGenerator[Worker, None]:
        """Lends a child for the length of the block, after those who asked before. Raises WorkerError.

        A block that ends normally with the child done gives it back. Otherwise (it is not done with what it was sent,
        or the block ends in an exception) it is killed, and a new one takes its place when somebody needs it. With
        `settle_s`, a child whose caller was cancelled or left it at work is given that time to finish instead.
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
        """Ends all children. Those who use one get WorkerDied, those who wait WorkerError."""
        self._closed = True
        for worker in (*self._idle, *self._lent):
            worker.kill()
        for worker in self._idle:
            self._spawn(worker.end())
        self._idle.clear()
        # Who holds a child learns of its death, and leaves; one that never asks again is not waited for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self._none_lent.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _take(self) -> Worker:
        self._check_open()
        while self._idle:
            # The one that was used last: its memory is warm.
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
            # It may have been closed while the child started.
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
        """Waits, within bounds, for a child that nobody listens to; its place stays taken meanwhile."""
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
