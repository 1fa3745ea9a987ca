"""A model on llama.cpp, as the text engine sees it."""

from __future__ import annotations

import array
import base64
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends._llamacpp_bodies import message_body, sampling_body
from enginehouse.engines.inference.backends._llamacpp_chunks import ChunkReader, to_error
from enginehouse.engines.inference.backends._llamacpp_server import LlamaCppServer
from enginehouse.engines.inference.backends.base import Embedded, Event, Piece, Prepared
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.stream import CoalescingWriter

_EMBED_AT_ONCE = 32
# No vocabulary packs more than this into a token on average; a longer text is refused without being read.
_MOST_BYTES_A_TOKEN = 256


# Chunks that wait for a slow reader before llama.cpp's thread is held back.
_MOST_WAITING = 4096
_ROOM_POLL_S = 0.1

_Chunk: TypeAlias = tuple[ChunkReader, bytes]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a request is put to llama.cpp."""

    chat: bool
    body: dict[str, Any]
    constrained: bool


class LlamaCppModel:
    """Implements `LoadedModel`."""

    def __init__(self, *, server: LlamaCppServer, context_tokens: int, slots: int, embedding_dimensions: int) -> None:
        self._server = server
        self._context_tokens = context_tokens
        self._slots = slots
        self._embedding_dimensions = embedding_dimensions
        self._held_tokens = 0

    @classmethod
    async def start(cls, *, model: CatalogModel, server: LlamaCppServer, slots: int) -> LlamaCppModel:
        """Asks a loaded server what it can do."""
        dimensions = 0
        if "embeddings" in model.capabilities:
            answer = orjson.loads(await server.embed(b'{"input":"a"}'))
            if "error" in answer:
                raise to_error(answer["error"], constrained=False)
            dimensions = len(answer["data"][0]["embedding"])
        return cls(server=server, context_tokens=model.context_tokens, slots=slots, embedding_dimensions=dimensions)

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._context_tokens

    @property
    def embedding_dimensions(self) -> int:
        """The length of its embeddings; 0 where it makes none."""
        return self._embedding_dimensions

    @property
    def slots(self) -> int:
        """How many sequences are decoded together."""
        return self._slots

    def kv_cache_used(self) -> float:
        """Share of all slots' contexts that running requests fill."""
        return min(1.0, self._held_tokens / (self._slots * self._context_tokens))

    async def tokenize(self, text: str) -> Sequence[int]:
        """The text's tokens."""
        return await self._server.tokenize(text, special=False)

    async def prepare(self, request: generation_pb2.GenerateRequest) -> Prepared:
        """Applies the template and counts the prompt."""
        body = sampling_body(request)
        if request.prompt:
            self._refuse_overlong(len(request.prompt.encode()), field="prompt")
            tokens = await self._server.tokenize(request.prompt, special=True)
            body["prompt"] = tokens
            if request.logprobs:
                body["logprobs"] = max(1, request.top_logprobs)
            plan = _Plan(chat=False, body=body, constrained=False)
            return Prepared(request=request, input_tokens=len(tokens), state=plan)
        self._refuse_overlong(sum(len(message.content.encode()) for message in request.messages), field="messages")
        body["messages"] = [message_body(message) for message in request.messages]
        counted = await self._server.ask("/v1/chat/completions/input_tokens", {"messages": body["messages"]})
        if request.logprobs:
            body["logprobs"] = True
            body["top_logprobs"] = request.top_logprobs
        plan = _Plan(chat=True, body=body, constrained=False)
        return Prepared(request=request, input_tokens=int(counted["input_tokens"]), state=plan)

    def _refuse_overlong(self, size: int, *, field: str) -> None:
        if size > self._context_tokens * _MOST_BYTES_A_TOKEN:
            raise _too_long(field, size // _MOST_BYTES_A_TOKEN, self._context_tokens, at_least=True)

    async def generate(self, prepared: Prepared, *, max_output_tokens: int) -> AsyncGenerator[Sequence[Event], None]:
        """Runs the model."""
        plan = prepared.state
        assert isinstance(plan, _Plan)
        request = prepared.request
        choices = request.choices or 1
        writer: CoalescingWriter[_Chunk, list[_Chunk]] = CoalescingWriter(merge=_all, max_pending=_MOST_WAITING)
        groups = range(0, choices, self._slots)
        ended = _EndWhenAll(len(groups), writer)
        for first in groups:
            reader = ChunkReader(
                first_choice=first,
                input_tokens=prepared.input_tokens,
                # All choices share one prompt, so it counts once.
                counts_prompt=first == 0,
                top_logprobs=request.top_logprobs if request.logprobs else -1,
            )
            body = {**plan.body, "n": min(self._slots, choices - first), "max_tokens": max_output_tokens}
            if request.sampling.HasField("seed"):
                # Within a group llama.cpp counts the seed up itself.
                body["seed"] = (request.sampling.seed + first) % 2**32
            on_chunk = _forward(writer, reader)
            self._server.stream(chat=plan.chat, body=orjson.dumps(body), on_chunk=on_chunk).add_done_callback(ended)
        held = prepared.input_tokens
        self._held_tokens += held
        try:
            async with aclosing(cast("AsyncGenerator[list[_Chunk], None]", aiter(writer))) as batches:
                async for batch in batches:
                    events: list[Event] = []
                    for reader, data in batch:
                        events.extend(reader.read(orjson.loads(data), constrained=plan.constrained))
                    grown = sum(event.tokens for event in events if isinstance(event, Piece))
                    held += grown
                    self._held_tokens += grown
                    if events:
                        yield events
        finally:
            self._held_tokens -= held

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> Embedded:
        """Embeds texts."""
        await self._check_inputs(inputs, max_input_tokens)
        vectors: list[Sequence[float]] = []
        read = 0
        for first in range(0, len(inputs), _EMBED_AT_ONCE):
            some = inputs[first : first + _EMBED_AT_ONCE]
            body = {"input": list(some), "encoding_format": "base64"}
            answer = orjson.loads(await self._server.embed(orjson.dumps(body)))
            if "error" in answer:
                raise to_error(answer["error"], constrained=False)
            for entry in sorted(answer["data"], key=lambda entry: int(entry["index"])):
                vector = array.array("f")
                vector.frombytes(base64.b64decode(entry["embedding"]))
                vectors.append(vector)
            read += int(answer["usage"]["prompt_tokens"])
        return Embedded(vectors=vectors, input_tokens=read)

    async def _check_inputs(self, inputs: Sequence[str], max_input_tokens: int) -> None:
        # A text has at most a token for each byte and the two that frame it. Only where that might be too many are
        # tokens counted, which costs as much again as reading them.
        most = [len(text.encode()) + 2 for text in inputs]
        needed = 0
        exact = sum(most) > max_input_tokens
        for index, text in enumerate(inputs):
            if not exact and most[index] <= self._context_tokens:
                continue
            self._refuse_overlong(most[index], field=f"inputs[{index}]")
            tokens = len(await self._server.tokenize(text, special=True))
            if tokens > self._context_tokens:
                raise _too_long(f"inputs[{index}]", tokens, self._context_tokens)
            needed += tokens
        if exact and needed > max_input_tokens:
            raise ServiceError(
                Reason.BUDGET_EXHAUSTED,
                f"the inputs have {needed} tokens; the budget reserved for this request pays for {max_input_tokens}",
            )

    async def close(self) -> None:
        """Frees the model."""
        await self._server.close()


def _all(chunks: list[_Chunk]) -> list[_Chunk]:
    return chunks


def _forward(writer: CoalescingWriter[_Chunk, list[_Chunk]], reader: ChunkReader) -> Callable[[bytes], bool]:
    def on_chunk(data: bytes) -> bool:
        """Runs in llama.cpp's thread; True frees the slot."""
        while not writer.put_blocking((reader, data), timeout_s=_ROOM_POLL_S):
            if writer.abandoned:
                return True
        return writer.abandoned

    return on_chunk


class _EndWhenAll:
    """Closes the writer when the last of several threads has ended, or when one fails."""

    def __init__(self, threads: int, writer: CoalescingWriter[_Chunk, list[_Chunk]]) -> None:
        self._left = threads
        self._writer = writer
        self._lock = threading.Lock()

    def __call__(self, future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._writer.close(to_error(str(error), constrained=False))
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._writer.close()


def _too_long(field: str, tokens: int, context_tokens: int, *, at_least: bool = False) -> ServiceError:
    description = f"{'at least ' if at_least else ''}{tokens} tokens do not fit the model's context of {context_tokens}"
    return ServiceError(
        Reason.CONTEXT_LENGTH_EXCEEDED,
        f"{field}: {description}",
        violations=[FieldViolation(field, description)],
        metadata={"prompt_tokens": str(tokens), "context_tokens": str(context_tokens)},
    )
