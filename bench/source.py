"""A token source of negligible cost, so that the path is measured and not a model.

For benchmarks alone: it is no backend of the text engine, and no catalog but the benchmark's names it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.base import EmbeddingResult, PreparedRequest, TextModelInfo
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.server.stream import CoalescingWriter

BACKEND = "synthetic"
# Some proxies end a stream whose chunks repeat.
TOKENS = tuple(f" w{number:02}" for number in range(64))
SLOTS = 4096


class SyntheticBackend:
    """A backend whose models only keep a pace. Options: `tokens_per_turn`, `seconds_per_turn`."""

    @property
    def name(self) -> str:
        """The backend's name in the catalog."""
        return BACKEND

    async def inspect(self, model: CatalogModel) -> TextModelInfo:
        """Return its properties: it takes no memory, so that it stays loaded."""
        return TextModelInfo(slots=SLOTS, memory_bytes=0, context_tokens=model.context_tokens)

    async def load(self, model: CatalogModel) -> SyntheticModel:
        """Load a model with the pace of its options."""
        options = dict(model.options)
        per_turn = int(options.pop("tokens_per_turn", 1))
        seconds = float(options.pop("seconds_per_turn", 0.0))
        if options or per_turn < 1:
            raise ServiceError(Reason.INVALID_REQUEST, f"{model.name}: options are tokens_per_turn, seconds_per_turn")
        return SyntheticModel(await self.inspect(model), tokens_per_turn=per_turn, seconds_per_turn=seconds)


class SyntheticModel:
    """A model that repeats the same few tokens.

    Args:
        info: its properties.
        tokens_per_turn: how many tokens it makes before it lets others run.
        seconds_per_turn: how long it then waits.
    """

    def __init__(self, info: TextModelInfo, *, tokens_per_turn: int, seconds_per_turn: float) -> None:
        self.info = info
        self._tokens_per_turn = tokens_per_turn
        self._seconds_per_turn = seconds_per_turn

    async def prepare(self, request: generation_pb2.GenerateRequest) -> PreparedRequest:
        """Count words."""
        texts = [request.prompt, *(message.content for message in request.messages)]
        return PreparedRequest(request=request, input_tokens=sum(len(text.split()) for text in texts))

    async def generate(
        self, prepared: PreparedRequest, *, max_output_tokens: int
    ) -> AsyncGenerator[Sequence[GenerationEvent], None]:
        """Yield the tokens that have accumulated since the last turn, as a runtime's queue does."""
        writer: CoalescingWriter[GenerationEvent, Sequence[GenerationEvent]] = CoalescingWriter(merge=list)
        writer.offer(TokenCounts(input_tokens=prepared.input_tokens, cached_input_tokens=0))
        producer: asyncio.Task[None] | None = None
        # A runtime of no cost needs a task only for what it makes after its first turn.
        made = min(max_output_tokens, self._tokens_per_turn)
        for left in range(max_output_tokens - 1, max_output_tokens - made - 1, -1):
            writer.offer(_piece(left))
        if made < max_output_tokens:
            producer = asyncio.create_task(self._produce(writer, max_output_tokens - made))
        else:
            writer.close()
        try:
            async with aclosing(aiter(writer)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            if producer is not None:
                producer.cancel()

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Raise: the model makes no embeddings."""
        raise ServiceError(Reason.UNSUPPORTED_CAPABILITY, "the synthetic source makes no embeddings")

    async def tokenize(self, text: str) -> Sequence[int]:
        """Raise: the model has no vocabulary."""
        raise ServiceError(Reason.UNSUPPORTED_CAPABILITY, "the synthetic source has no tokenizer")

    def kv_cache_used(self) -> float:
        """None."""
        return 0.0

    async def close(self) -> None:
        """Do nothing: there is nothing to free."""

    async def _produce(self, writer: CoalescingWriter[GenerationEvent, Sequence[GenerationEvent]], left: int) -> None:
        try:
            while left:
                await asyncio.sleep(self._seconds_per_turn)
                for _ in range(min(left, self._tokens_per_turn)):
                    left -= 1
                    piece = _piece(left)
                    if not writer.offer(piece) and not await writer.put(piece):
                        return
        finally:
            writer.close()


def _piece(left: int) -> OutputPiece:
    """Return the token before so many others."""
    return OutputPiece(index=0, text=TOKENS[left % len(TOKENS)], tokens=1, finish=None if left else FinishReason.LENGTH)
