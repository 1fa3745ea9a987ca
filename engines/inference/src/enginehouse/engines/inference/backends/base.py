"""The interface between the text engine and a model runtime.

A `TextBackend` loads models; a `LoadedTextModel` answers for one of them. Neither knows gRPC calls, grants, prices or
queues: the engine has validated the request, decided how many tokens it may produce, and accounts for the output. Both
raise `enginehouse.kit.errors.ServiceError` and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.generation.events import GenerationEvent
from enginehouse.kit.catalog import CatalogModel


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request made ready for one model: its template applied and its prompt counted."""

    request: generation_pb2.GenerateRequest
    """The request, validated, with the model's name in `model`."""
    input_tokens: int
    """Tokens of the prompt: exact, or (where the tokenizer is not at hand) an upper bound."""
    state: object = None
    """Whatever the runtime wants to find again in `generate`."""
    output_key: bytes = b""
    """Equal where the same tokens would be made, on any engine, however the work is divided; empty where the answer
    cannot be continued from its tokens, or was not asked to be resumable."""
    likely_input_tokens: int | None = None
    """What to charge for the prompt where the answer is cut before the runtime says; None takes `input_tokens`."""
    patience_s: float = math.inf
    """How long the runtime may wait before it tries something again that failed; set by the engine. 0 where another
    model would take over."""


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """Vectors in the order of the inputs, and what they took."""

    vectors: Sequence[Sequence[float]]
    """Unit length, the model's full dimension each."""
    input_tokens: int
    """Tokens read, over all inputs."""


class LoadedTextModel(Protocol):
    """One model, ready to answer any number of requests at once on one event loop."""

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together in one request."""

    @property
    def embedding_dimensions(self) -> int:
        """The length of its embeddings; 0 where it makes none."""

    @property
    def slots(self) -> int:
        """The number of sequences it runs at once; a request takes one for each choice."""

    @property
    def resumes(self) -> bool:
        """Return whether it can continue an answer exactly from its tokens, in the forms that allow it."""

    async def prepare(self, request: generation_pb2.GenerateRequest) -> PreparedRequest:
        """Apply the template and counts the prompt, without running the model.

        Raises INVALID_REQUEST (naming `messages`, `prompt`...) where the template refuses the conversation, and
        INVALID_SCHEMA for a schema or grammar known to be bad at this point. Whether the prompt fits is the
        caller's to check.
        """

    def generate(
        self, prepared: PreparedRequest, *, max_output_tokens: int
    ) -> AsyncGenerator[Sequence[GenerationEvent], None]:
        """Run the model; every choice produces at most `max_output_tokens` tokens, never one more.

        Where the request resumes, those come after the tokens that it brings, which are read as part of the prompt.

        Yield everything that has accumulated since the last time, never an empty sequence: a `TokenCounts` before or
        with the first `OutputPiece` where the runtime knows the prompt's counts by then, else at the end; then pieces,
        the last of each choice with `finish`. Closing the generator (`aclose`), or cancelling the task in it, frees the
        slot at once. Memory is bounded by `max_output_tokens` where the reader is slow.

        Raises INVALID_SCHEMA, BACKEND_FAILED, UPSTREAM_FAILED, UPSTREAM_RATE_LIMITED.
        """

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Embed texts; refuse to read more than `max_input_tokens` over all of them (BUDGET_EXHAUSTED, naming the
        number needed), and texts longer than the context (CONTEXT_LENGTH_EXCEEDED, naming `inputs[i]`)."""

    async def tokenize(self, text: str) -> Sequence[int]:
        """The text's tokens, without any that a template adds; UNSUPPORTED_CAPABILITY where there is no tokenizer."""

    def kv_cache_used(self) -> float:
        """Share of the KV cache in use, 0 to 1; 0 where it is not known."""

    async def close(self) -> None:
        """End what runs and free the model."""


class TextBackend(Protocol):
    """A runtime: loads the models whose catalog entry names it. Constructed by `__main__` with what it needs."""

    @property
    def name(self) -> str:
        """The catalog's word for it: "llama.cpp", "vllm" or "upstream"."""

    async def load(self, model: CatalogModel) -> LoadedTextModel:
        """Load a model by its `source`, `context_tokens` and `options` (the backend checks those itself).

        Raises WEIGHTS_ABSENT, naming the weights and the command that fetches them; INVALID_REQUEST for options it
        does not know; BACKEND_FAILED for weights that it cannot load.
        """
