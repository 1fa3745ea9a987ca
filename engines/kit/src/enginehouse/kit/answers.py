"""Delivery of finished answers to the router's cache: as their last message goes out, never before.

A grant may ask for the answer to be cached (`Grant.keep`). Then the messages are collected as they pass. Once the last
one has passed, the whole answer goes to the router that the grant names. Nothing waits for that: there is one attempt,
from a bounded queue, and a failure only costs making the answer again. An answer that was cut off, by its client, its
budget or an error, is never delivered; the router is told that none will come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, TypeVar

import grpc

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc
from enginehouse.kit.address_channels import AddressChannels
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.current_call import current_call
from enginehouse.kit.grants import GRANT_HEADER
from enginehouse.kit.openai import InProcessTextEngine
from enginehouse.kit.tasks import BackgroundTask

_log = logging.getLogger(__name__)

# Pieces of an answer are joined up to this many characters: small enough to be replayed as a stream.
_PIECE_CHARACTERS = 256


CallT = TypeVar("CallT", bound=GrantedCall)


class AnswerSender:
    """The queue of answers on their way to routers.

    Args:
        max_pending_bytes: the bound on what waits to be sent; an answer that does not fit is dropped.
        timeout_s: seconds that a router may take to store one.
        senders: how many are sent at once.
    """

    def __init__(self, *, max_pending_bytes: int = 32 << 20, timeout_s: float = 2.0, senders: int = 4) -> None:
        self._max_pending_bytes = max_pending_bytes
        self._timeout_s = timeout_s
        self._senders = senders
        self._queue: asyncio.Queue[tuple[str, cache_pb2.StoreRequest, int]] = asyncio.Queue()
        self._pending_bytes = 0
        self._tasks: list[BackgroundTask] = []
        self._channels = AddressChannels(retries=False)
        self.dropped = 0
        """The number of answers that did not fit or could not be delivered."""

    def offer(self, address: str, request: cache_pb2.StoreRequest) -> None:
        """Queue an answer for the router at that address; return at once."""
        size = request.ByteSize()
        if self._pending_bytes + size > self._max_pending_bytes:
            self.dropped += 1
            return
        self._pending_bytes += size
        self._queue.put_nowait((address, request, size))
        if len(self._tasks) < self._senders:
            task = BackgroundTask(self._send_for_ever, name="answer-sender")
            task.start()
            self._tasks.append(task)

    async def close(self, *, timeout_s: float = 1.0) -> None:
        """Send queued answers, for `timeout_s` seconds at most, and disconnect from the routers."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._queue.join()
        for task in self._tasks:
            await task.close()
        self._tasks.clear()
        await self._channels.close()

    async def _send_for_ever(self) -> None:
        while True:
            address, request, size = await self._queue.get()
            try:
                stub: cache_pb2_grpc.AnswerServiceAsyncStub = cache_pb2_grpc.AnswerServiceStub(
                    await self._channels.to(address)
                )
                await stub.Store(request, timeout=self._timeout_s)
            except grpc.aio.AioRpcError as error:
                self.dropped += 1
                _log.debug("could not deliver an answer to the router: %s", error.code().name)
            except Exception:
                self.dropped += 1
                _log.exception("could not deliver an answer to the router")
            finally:
                self._pending_bytes -= size
                self._queue.task_done()


class KeepingEngine(Generic[CallT]):
    """A text engine that delivers answers to the router's cache where the grant asks for it.

    Args:
        engine: does the work.
        sender: delivers the answers.
    """

    def __init__(self, *, engine: InProcessTextEngine[CallT], sender: AnswerSender) -> None:
        self._engine = engine
        self._sender = sender

    def generate(
        self, request: generation_pb2.GenerateRequest, call: CallT
    ) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        """As the engine's."""
        if not call.grant.HasField("keep"):
            return self._engine.generate(request, call)
        return self._kept(request, call)

    async def embed(self, request: generation_pb2.EmbedRequest, call: CallT) -> generation_pb2.EmbedResponse:
        """As the engine's."""
        if not call.grant.HasField("keep"):
            return await self._engine.embed(request, call)
        answer: cache_pb2.Answer | None = None
        try:
            response = await self._engine.embed(request, call)
            answer = cache_pb2.Answer(
                embedded=cache_pb2.EmbeddedAnswer(
                    model=response.model, embeddings=response.embeddings, usage=response.usage
                )
            )
            return response
        finally:
            self._hand_over(call, answer)

    async def _kept(
        self, request: generation_pb2.GenerateRequest, call: CallT
    ) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        collected = _Collected(call.grant.keep.most_bytes)
        whole = False
        try:
            async with aclosing(self._engine.generate(request, call)) as responses:
                async for response in responses:
                    collected.add(response)
                    yield response
            # Reached once the last message is taken to be sent: a client that hangs up before has no whole answer.
            whole = True
        finally:
            self._hand_over(call, collected.answer(call.model, choices=request.choices or 1) if whole else None)

    def _hand_over(self, call: CallT, answer: cache_pb2.Answer | None) -> None:
        keep = call.grant.keep
        # The answer of a fallback model is not the answer of the model that was chosen.
        chosen = call.grant.candidates[0].model if call.grant.candidates else ""
        if answer is not None and (call.model != chosen or answer.ByteSize() > keep.most_bytes):
            answer = None
        current = current_call.get()
        token = current.header(GRANT_HEADER) if current is not None else ""
        self._sender.offer(keep.address, cache_pb2.StoreRequest(grant=token, answer=answer))


class _Collected:
    """The messages of one generation, as long as they are small enough to be cached."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._deltas: list[generation_pb2.ChoiceDelta] = []
        self._summary: generation_pb2.GenerationSummary | None = None
        self._ended: set[int] = set()
        self._cut = False

    def add(self, response: generation_pb2.GenerateResponse) -> None:
        for delta in response.deltas:
            if delta.finish_reason:
                self._ended.add(delta.index)
            self._cut = self._cut or delta.stopped_by == generation_pb2.STOPPED_BY_BUDGET
            if self._size <= self._max_bytes:
                self._size += delta.ByteSize()
                self._append(delta)
        if response.HasField("summary"):
            self._summary = response.summary

    def answer(self, model: str, *, choices: int) -> cache_pb2.Answer | None:
        """Return the whole answer; None if it is too large, was cut by the budget, or lacks an end."""
        if self._cut or self._size > self._max_bytes or self._summary is None or len(self._ended) != choices:
            return None
        return cache_pb2.Answer(
            generated=cache_pb2.GeneratedAnswer(model=model, deltas=self._deltas, usage=self._summary.usage)
        )

    def _append(self, delta: generation_pb2.ChoiceDelta) -> None:
        last = self._deltas[-1] if self._deltas else None
        if last is None or last.index != delta.index or last.finish_reason or len(last.text) >= _PIECE_CHARACTERS:
            self._deltas.append(_plain(delta))
            return
        text, reasoning, tokens = last.text + delta.text, last.reasoning + delta.reasoning, last.token_count
        # Merging joins lists and replaces single values.
        last.MergeFrom(_plain(delta))
        last.text, last.reasoning, last.token_count = text, reasoning, tokens + delta.token_count


def _plain(delta: generation_pb2.ChoiceDelta) -> generation_pb2.ChoiceDelta:
    """Return a copy without tokens and receipt, which only the engine that made them can continue from."""
    copy = generation_pb2.ChoiceDelta()
    copy.CopyFrom(delta)
    copy.ClearField("token_ids")
    copy.ClearField("receipt")
    return copy
