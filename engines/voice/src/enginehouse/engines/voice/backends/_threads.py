"""Run a model's blocking work in threads of its own, and pass its output to the event loop through a bounded queue.

A runtime that computes in this process releases Python's lock meanwhile, so threads are enough. The output waits for
its reader in a queue of a few entries; a full queue blocks the work, a reader that left cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import Generic, TypeVar

from enginehouse.kit.errors import Reason, ServiceError, clip
from enginehouse.kit.server.stream import CoalescingWriter

Output = TypeVar("Output")

# The time that the work waits for a full queue before it checks whether it is cancelled.
_POLL_S = 0.2


class WorkCancelled(Exception):
    """The work is cancelled: let this exception leave the function that does the work."""


class OutputSink(Generic[Output]):
    """The output of work in a thread. Made by `ModelThreads`."""

    def __init__(self, writer: CoalescingWriter[Output, Sequence[Output]], closed: Callable[[], bool]) -> None:
        self._writer = writer
        self._closed = closed

    def check(self) -> None:
        """Raise WorkCancelled if the reader has left or the model is being closed. Call it at every step."""
        if self._writer.abandoned or self._closed():
            raise WorkCancelled

    def put(self, made: Output) -> None:
        """Pass on an output, after waiting for room. Raises WorkCancelled."""
        self.check()
        while not self._writer.put_blocking(made, timeout_s=_POLL_S):
            self.check()


class ModelThreads:
    """The threads of one model.

    Args:
        name: the model's name, for errors.
        slots: the number of concurrent jobs; further jobs wait, in order.
        max_pending: the maximum number of a job's outputs that wait for its reader.
    """

    def __init__(self, *, name: str, slots: int, max_pending: int) -> None:
        self._name = name
        self._max_pending = max_pending
        self._closed = False
        self._executor = ThreadPoolExecutor(max_workers=slots, thread_name_prefix=f"voice-{name}")

    async def run(self, work: Callable[[OutputSink[Output]], None]) -> AsyncGenerator[Sequence[Output], None]:
        """Yield the outputs that `work` puts into its sink, as many as there are at a time, oldest first.

        Closing the generator returns at once; the work ends at its next step. Raises the exception of `work`, as
        BACKEND_FAILED unless it is a ServiceError; ENGINE_DRAINING if the model is closed.
        """
        self._check_open()
        writer: CoalescingWriter[Output, Sequence[Output]] = CoalescingWriter(merge=list, max_pending=self._max_pending)
        sink = OutputSink(writer, lambda: self._closed)
        job = self._executor.submit(self._work, work, sink, writer)
        job.add_done_callback(lambda done: self._end_unstarted(done, writer))
        async with aclosing(aiter(writer)) as batches:
            try:
                async for batch in batches:
                    yield batch
            finally:
                job.cancel()

    async def close(self) -> None:
        """Cancel running work at its next step, and wait until it has ended."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _work(
        self,
        work: Callable[[OutputSink[Output]], None],
        sink: OutputSink[Output],
        writer: CoalescingWriter[Output, Sequence[Output]],
    ) -> None:
        try:
            sink.check()
            work(sink)
        except WorkCancelled:
            writer.close(self._draining() if self._closed else None)
        except ServiceError as error:
            writer.close(error)
        except Exception as error:
            # A runtime may fail in any way: out of memory, a bug, weights that make NaN.
            failure = ServiceError(
                Reason.BACKEND_FAILED, f"{self._name!r} failed: {type(error).__name__}: {clip(str(error), 300)}"
            )
            failure.__cause__ = error
            writer.close(failure)
        else:
            writer.close()

    def _end_unstarted(self, job: Future[None], writer: CoalescingWriter[Output, Sequence[Output]]) -> None:
        if job.cancelled():
            writer.close(self._draining())

    def _check_open(self) -> None:
        if self._closed:
            raise self._draining()

    def _draining(self) -> ServiceError:
        return ServiceError(Reason.ENGINE_DRAINING, f"the model {self._name!r} is being closed; call another engine")
