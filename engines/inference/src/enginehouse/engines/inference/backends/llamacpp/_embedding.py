"""Embeddings by llama.cpp."""

from __future__ import annotations

import array
import base64
from collections.abc import Sequence

import orjson

from enginehouse.engines.inference.backends.base import EmbeddingResult
from enginehouse.engines.inference.backends.llamacpp._chunks import to_error
from enginehouse.engines.inference.backends.llamacpp._plans import RequestPlanner, too_long
from enginehouse.engines.inference.backends.llamacpp._server import LlamaCppServer
from enginehouse.kit.errors import Reason, ServiceError

# A cancel takes effect between two groups of texts.
_AT_ONCE = 32


class LlamaCppEmbedder:
    """The embeddings of one loaded model.

    Args:
        server: the model.
        planner: refuses texts that are too long to be worth counting.
        context_tokens: the bound on a text's tokens.
    """

    def __init__(self, *, server: LlamaCppServer, planner: RequestPlanner, context_tokens: int) -> None:
        self._server = server
        self._planner = planner
        self._context_tokens = context_tokens

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Embed texts, as `LoadedTextModel.embed` does."""
        await self._check(inputs, max_input_tokens)
        vectors: list[Sequence[float]] = []
        read = 0
        for first in range(0, len(inputs), _AT_ONCE):
            body = {"input": list(inputs[first : first + _AT_ONCE]), "encoding_format": "base64"}
            answer = orjson.loads(await self._server.embed(orjson.dumps(body)))
            if "error" in answer:
                raise to_error(answer["error"], constrained=False)
            for entry in sorted(answer["data"], key=lambda entry: int(entry["index"])):
                vector = array.array("f")
                vector.frombytes(base64.b64decode(entry["embedding"]))
                vectors.append(vector)
            read += int(answer["usage"]["prompt_tokens"])
        return EmbeddingResult(vectors=vectors, input_tokens=read)

    async def _check(self, inputs: Sequence[str], max_input_tokens: int) -> None:
        # A text has at most a token for each byte and the two that frame it. Tokens are counted only if that might be
        # too many, since counting costs as much as reading them.
        most = [len(text.encode()) + 2 for text in inputs]
        exact = sum(most) > max_input_tokens
        needed = 0
        for index, text in enumerate(inputs):
            if not exact and most[index] <= self._context_tokens:
                continue
            field = f"inputs[{index}]"
            self._planner.refuse_overlong(most[index], field)
            tokens = len(await self._server.tokenize(text, special=True))
            if tokens > self._context_tokens:
                raise too_long(field, tokens, self._context_tokens)
            needed += tokens
        if exact and needed > max_input_tokens:
            raise ServiceError(
                Reason.BUDGET_EXHAUSTED,
                f"budget exhausted: the inputs have {needed} tokens; the budget reserved for this request pays for "
                f"{max_input_tokens}",
            )
