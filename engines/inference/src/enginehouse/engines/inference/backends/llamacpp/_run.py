"""One generation on llama.cpp: its requests, their threads, and the transfer of their chunks to the event loop."""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from typing import TypeAlias

import orjson

from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest
from enginehouse.engines.inference.backends.llamacpp._chunks import LlamaCppChunkReader, UnreadableAnswer, to_error
from enginehouse.engines.inference.backends.llamacpp._plans import RequestPlan
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece
from enginehouse.engines.inference.generation.stops import StopScanner
from enginehouse.engines.inference.generation.tool_calls import CallOrFormReader
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
    # A choice that a stop text may end has a request of its own, since only whole requests can be ended. So has one
    # that llama.cpp may fail to read, since it fails whole requests.
    width = 1 if plan.stops or plan.parsed else slots
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
        if plan.parsed:
            body["n_discard"] = group.mark
        on_chunk = _Forward(writer, group)
        server.stream(chat=plan.chat, body=orjson.dumps(body), on_chunk=on_chunk).add_done_callback(ended)
    # Leaving this block tells every thread to stop at its next chunk.
    async with aclosing(aiter(writer)) as batches:
        async for batch in batches:
            events: list[GenerationEvent] = []
            for group, data in batch:
                try:
                    events.extend(group.read(data))
                except UnreadableAnswer:
                    if not plan.parsed:
                        raise
                    made = await server.made_by(group.mark, input_tokens=plan.input_tokens)
                    events.append(group.end(made, max_output_tokens=max_output_tokens))
            if events:
                yield events


class _Group:
    """The choices that one llama.cpp request makes."""

    def __init__(self, request: GenerateRequest, plan: RequestPlan, *, first: int, size: int) -> None:
        self.first = first
        self.size = size
        self.stopped = False
        self.mark = 1 + secrets.randbelow(2**31 - 1)
        """A number of its own, by which its slot is found."""
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

    def end(self, made: tuple[int, bool] | None, *, max_output_tokens: int) -> GenerationEvent:
        """Return the end of the only choice, whose rest llama.cpp cannot read; what it could read was given before.

        Args:
            made: how many tokens were made and whether the model was done, as far as that is known.
            max_output_tokens: the bound on the choice.
        """
        tokens, done = made or (0, False)
        finish = FinishReason.STOP if done and tokens < max_output_tokens else FinishReason.LENGTH
        piece = self._chunks.end(self.first, tokens=min(tokens, max_output_tokens), finish=finish)
        if self._stops is not None:
            piece = self._bounded(piece)
        self.stopped = True
        return piece

    def _bounded(self, piece: OutputPiece) -> OutputPiece:
        reader = self._tools[piece.index - self.first] if self._tools else None
        if isinstance(reader, CallOrFormReader):
            # A stop text inside a call's arguments would cut the call in half.
            piece = reader.read(piece)
            return self._until_stop(piece) if reader.is_form else piece
        piece = self._until_stop(piece)
        return reader.read(piece) if reader is not None else piece

    def _until_stop(self, piece: OutputPiece) -> OutputPiece:
        if self._stops is None:
            return piece
        piece = self._stops.read(piece)
        self.stopped = self._stops.stopped
        return piece


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
