"""An encoder on ONNX Runtime, as the text engine sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.base import EmbeddingResult, PreparedRequest, TextModelInfo
from enginehouse.engines.inference.backends.onnxruntime._batches import plan_batches
from enginehouse.engines.inference.backends.onnxruntime._session import EncoderSession
from enginehouse.engines.inference.generation.events import GenerationEvent
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

if TYPE_CHECKING:
    import tokenizers

P = ParamSpec("P")
T = TypeVar("T")

# No vocabulary has longer tokens on average; a text that is too long even so is refused without being counted.
_MAX_BYTES_PER_TOKEN = 256


class OnnxRuntimeModel:
    """A loaded encoder; implements `LoadedTextModel`.

    Args:
        name: its name in the catalog.
        session: the encoder.
        tokenizer: splits texts, without truncation or padding.
        info: its properties, with the dimensions as measured.
        threads: steps that run at once, over all requests.
        step_tokens: tokens of one step.
    """

    def __init__(
        self,
        *,
        name: str,
        session: EncoderSession,
        tokenizer: tokenizers.Tokenizer,
        info: TextModelInfo,
        threads: int,
        step_tokens: int,
    ) -> None:
        self._name = name
        self._session = session
        self._tokenizer = tokenizer
        self.info = info
        """Its properties."""
        self._step_tokens = step_tokens
        self._threads = threads
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="onnxruntime")

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Embed texts. A request has no more steps in the queue than threads, so that others get their turn."""
        texts = await self._split(inputs)
        needed = sum(map(len, texts))
        if needed > max_input_tokens:
            raise ServiceError(
                Reason.BUDGET_EXHAUSTED,
                f"budget exhausted: the inputs have {needed} tokens; the budget reserved for this request pays for "
                f"{max_input_tokens}",
            )
        vectors: list[Sequence[float]] = [()] * len(texts)
        batches = plan_batches([len(text) for text in texts], step_tokens=self._step_tokens)
        waiting = iter(batches)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._threads, len(batches))):
                    group.create_task(self._read(waiting, texts, vectors))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return EmbeddingResult(vectors=vectors, input_tokens=needed)

    async def _read(
        self, waiting: Iterator[list[int]], texts: Sequence[Sequence[int]], vectors: list[Sequence[float]]
    ) -> None:
        for batch in waiting:
            found = await self._in_thread(self._session.run, [texts[index] for index in batch])
            for index, vector in zip(batch, found.tolist(), strict=True):
                vectors[index] = vector

    async def _split(self, inputs: Sequence[str]) -> Sequence[Sequence[int]]:
        """Return the texts' tokens with those that frame them; raise CONTEXT_LENGTH_EXCEEDED."""
        context = self.info.context_tokens
        for index, text in enumerate(inputs):
            size = len(text.encode())
            if size > context * _MAX_BYTES_PER_TOKEN:
                raise _too_long(index, f"at least {size // _MAX_BYTES_PER_TOKEN}", context)
        texts = await self._in_thread(self._tokens, inputs, special=True)
        for index, tokens in enumerate(texts):
            if len(tokens) > context:
                raise _too_long(index, str(len(tokens)), context)
        # A tokenizer that frames nothing makes no token of white space.
        return [tokens or [0] for tokens in texts]

    def _tokens(self, inputs: Sequence[str], *, special: bool) -> Sequence[Sequence[int]]:
        encoded = self._tokenizer.encode_batch_fast(list(inputs), add_special_tokens=special)
        return [encoding.ids for encoding in encoded]

    async def _in_thread(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        return await asyncio.wrap_future(self._pool.submit(work, *arguments, **named))

    async def tokenize(self, text: str) -> Sequence[int]:
        """Return the text's tokens."""
        [tokens] = await self._in_thread(self._tokens, [text], special=False)
        return tokens

    async def prepare(self, request: generation_pb2.GenerateRequest) -> PreparedRequest:
        """Raise UNSUPPORTED_CAPABILITY: an encoder generates nothing."""
        raise self._refusal()

    async def generate(
        self, prepared: PreparedRequest, *, max_output_tokens: int
    ) -> AsyncGenerator[Sequence[GenerationEvent], None]:
        """Raise UNSUPPORTED_CAPABILITY."""
        for _ in ():
            yield _
        raise self._refusal()

    def _refusal(self) -> ServiceError:
        return ServiceError(
            Reason.UNSUPPORTED_CAPABILITY,
            f"model {self._name!r} makes embeddings only: name a model that generates",
        )

    def kv_cache_used(self) -> float:
        """Return 0: an encoder keeps no cache."""
        return 0.0

    async def close(self) -> None:
        """Wait for the steps that run, and free the model."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)


def _too_long(index: int, tokens: str, context: int) -> ServiceError:
    field = f"inputs[{index}]"
    description = f"{tokens} tokens do not fit the model's context of {context}"
    return ServiceError(
        Reason.CONTEXT_LENGTH_EXCEEDED,
        f"{field}: {description}",
        violations=[FieldViolation(field, description)],
        metadata={"prompt_tokens": tokens.removeprefix("at least "), "context_tokens": str(context)},
    )
