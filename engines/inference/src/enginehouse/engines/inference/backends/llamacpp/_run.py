"""One generation on llama.cpp: its requests, their threads, and the transfer of their chunks to the event loop."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import TypeAlias, cast

import orjson

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest
from enginehouse.engines.inference.backends.llamacpp._chunks import LlamaCppChunkReader, to_error
from enginehouse.engines.inference.backends.llamacpp._plans import RequestPlan
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.generation.events import GenerationEvent, OutputPiece
from enginehouse.engines.inference.generation.stops import StopScanner
from enginehouse.kit.server.stream import CoalescingWriter

# The number of chunks that may wait for a slow reader before llama.cpp's thread has to wait.
_MAX_WAITING = 4096
_ROOM_POLL_S = 0.1

_Chunk: TypeAlias = "tuple[_Group, bytes]"
_Writer: TypeAlias = CoalescingWriter[_Chunk, list[_Chunk]]


async def run(
    server: LlamaCppServer, plan: RequestPlan, request: GenerateRequest, *, slots: int, max_output_tokens: int
) -> AsyncGenerator[list[GenerationEvent], None]:
    """Run a plan and yield the accumulated events, as `LoadedTextModel.generate` does.

    Args:
        server: the loaded model.
        plan: the request as llama.cpp takes it.
        request: the request.
        slots: the number of choices that one llama.cpp request may have.
        max_output_tokens: the bound on each choice.
    """
    choices = request.choices or 1
    # A choice that a stop text may end has a request of its own, since only whole requests can be ended.
    width = 1 if plan.stops else slots
    groups = [
        _Group(request, plan, first=first, size=min(width, choices - first)) for first in range(0, choices, width)
    ]
    writer: _Writer = CoalescingWriter(merge=_all, max_pending=_MAX_WAITING)
    ended = _CloseAfterAll(len(groups), writer)
    for group in groups:
        body = {**plan.body, "n": group.size, "max_tokens": max_output_tokens}
        if request.sampling.HasField("seed"):
            # Within a group, llama.cpp increments the seed itself.
            body["seed"] = (request.sampling.seed + group.first) % 2**32
        on_chunk = _Forward(writer, group)
        server.stream(chat=plan.chat, body=orjson.dumps(body), on_chunk=on_chunk).add_done_callback(ended)
    # Leaving this block tells every thread to stop at its next chunk.
    async with aclosing(cast("AsyncGenerator[list[_Chunk], None]", aiter(writer))) as batches:
        async for batch in batches:
            events: list[GenerationEvent] = []
            for group, data in batch:
                events.extend(group.read(data))
            if events:
                yield events


class _Group:
    """The choices that one llama.cpp request makes."""

    def __init__(self, request: GenerateRequest, plan: RequestPlan, *, first: int, size: int) -> None:
        self.first = first
        self.size = size
        self.stopped = False
        self._plan = plan
        self._chunks = LlamaCppChunkReader(
            first_choice=first,
            input_tokens=plan.input_tokens,
            # All choices share one prompt, which counts once.
            counts_prompt=first == 0,
            top_logprobs=request.top_logprobs if request.logprobs else -1,
        )
        self._stops = StopScanner(plan.stops) if plan.stops else None
        self._tools = [plan.tool_reader() for _ in range(size)] if plan.tool_reader is not None else []

    def read(self, data: bytes) -> Sequence[GenerationEvent]:
        """Return the events of a chunk."""
        if self.stopped:
            return ()
        events = self._chunks.read(orjson.loads(data), constrained=self._plan.constrained)
        if self._stops is None and not self._tools:
            return list(events)
        return [self._bounded(event) if isinstance(event, OutputPiece) else event for event in events]

    def _bounded(self, piece: OutputPiece) -> OutputPiece:
        if self._stops is not None:
            piece = self._stops.read(piece)
            self.stopped = self._stops.stopped
        return self._tools[piece.index - self.first].read(piece) if self._tools else piece


class _Forward:
    """The callback that llama.cpp's thread calls with each chunk; returning True frees the slot."""

    def __init__(self, writer: _Writer, group: _Group) -> None:
        self._writer = writer
        self._group = group

    def __call__(self, data: bytes) -> bool:
        while not self._writer.put_blocking((self._group, data), timeout_s=_ROOM_POLL_S):
            if self._writer.abandoned or self._group.stopped:
                return True
        return self._writer.abandoned or self._group.stopped


class _CloseAfterAll:
    """A counter of threads, which closes the writer when the last one has ended, or when one fails."""

    def __init__(self, threads: int, writer: _Writer) -> None:
        self._left = threads
        self._writer = writer
        self._lock = threading.Lock()

    def __call__(self, future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if error is not None:
            self._writer.close(to_error(str(error), constrained=False))
        elif last:
            self._writer.close()


def _all(chunks: list[_Chunk]) -> list[_Chunk]:
    return chunks
