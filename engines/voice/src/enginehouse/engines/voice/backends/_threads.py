"""Runs a model's blocking work in threads of its own, and hands what it makes to the event loop, with bounds between.

A runtime that computes in this process lets go of Python's lock while it does, so threads are enough. What is made
waits for its reader in a queue of a few entries; a full one holds the work up, a reader that left ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import Generic, TypeVar, cast

from enginehouse.kit.errors import Reason, ServiceError, clip
from enginehouse.kit.server.stream import CoalescingWriter

Output = TypeVar("Output")

# How long a full queue is waited for before the work looks whether it is still wanted.
_LOOK_S = 0.2


class WorkCancelled(Exception):
    """Nobody waits for the work any more: let it out of the function that does the work."""


class OutputSink(Generic[Output]):
    """Where work in a thread puts what it makes. Made by `ModelThreads`."""

    def __init__(self, writer: CoalescingWriter[Output, Sequence[Output]], closed: Callable[[], bool]) -> None:
        self._writer = writer
        self._closed = closed

    def check(self) -> None:
        """Raise Unwanted where the reader has left or the model is being closed. Call it at every step."""
        if self._writer.abandoned or self._closed():
            raise WorkCancelled

    def put(self, made: Output) -> None:
        """Hand something over, after waiting for room. Raises Unwanted."""
        self.check()
        while not self._writer.put_blocking(made, timeout_s=_LOOK_S):
            self.check()


class ModelThreads:
    """The threads of one model.

    Args:
        name: the model's, for errors.
        slots: how many jobs run at once; further ones wait, in order.
        waiting: how many things that a job made may wait for its reader.
    """

    def __init__(self, *, name: str, slots: int, waiting: int) -> None:
        self._name = name
        self._waiting = waiting
        self._closed = False
        self._executor = ThreadPoolExecutor(max_workers=slots, thread_name_prefix=f"voice-{name}")

    async def run(self, work: Callable[[OutputSink[Output]], None]) -> AsyncGenerator[Sequence[Output], None]:
        """Yield what `work` puts into its outlet, all that is there at a time, oldest first.

        Closing the generator returns at once; the work ends at its next step. Raises what `work` raises, as
        BACKEND_FAILED where it is no ServiceError; ENGINE_DRAINING where the model is closed.
        """
        self._check_open()
        writer: CoalescingWriter[Output, Sequence[Output]] = CoalescingWriter(merge=list, max_pending=self._waiting)
        sink = OutputSink(writer, lambda: self._closed)
        job = self._executor.submit(self._do, work, sink, writer)
        job.add_done_callback(lambda done: self._end_unstarted(done, writer))
        # The writer's iterator is a generator, though its type says less.
        async with aclosing(cast("AsyncGenerator[Sequence[Output], None]", _iterator(writer))) as batches:
            try:
                async for batch in batches:
                    yield batch
            finally:
                job.cancel()

    async def close(self) -> None:
        """End what runs, at its next step, and wait until it has ended."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _do(
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
            # A runtime may fail in any way: out of memory, a defect, weights that make no numbers.
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
        return ServiceError(Reason.ENGINE_DRAINING, f"the model {self._name!r} is being closed; ask another engine")


def _iterator(writer: CoalescingWriter[Output, Sequence[Output]]) -> AsyncIterator[Sequence[Output]]:
    return aiter(writer)
