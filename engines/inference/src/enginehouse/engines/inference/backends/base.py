"""What a model runtime is to the text engine.

A `Backend` loads models; a `LoadedModel` answers for one of them. Neither knows of gRPC calls, grants, prices or
queues: the service has validated the request, decided how many tokens it may produce, and accounts for what comes
back. Both raise `enginehouse.kit.errors.ServiceError` and nothing else.
"""

from __future__ import annotations

import enum
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.catalog import CatalogModel


class Finish(enum.Enum):
    """Why a choice ended, as the runtime saw it."""

    STOP = enum.auto()
    """The model ended its turn, or a stop text appeared."""
    LENGTH = enum.auto()
    """`max_output_tokens` were produced."""
    CONTEXT = enum.auto()
    """The context was full before that."""
    TOOL_CALLS = enum.auto()
    """The model called tools."""


@dataclass(slots=True)
class Piece:
    """What one choice produced since its last piece. Whole characters only, in order."""

    index: int
    """Which choice, from 0."""
    text: str = ""
    """The next text."""
    tokens: int = 0
    """How many tokens it holds, by the model's own count."""
    finish: Finish | None = None
    """Set in the choice's last piece."""
    reasoning: str = ""
    """The next text of the model's reasoning, where the runtime tells it apart."""
    tool_calls: Sequence[generation_pb2.ToolCallDelta] = ()
    """The next pieces of tool calls."""
    logprobs: Sequence[generation_pb2.TokenLogprob] = ()
    """One for each token, when asked for."""
    token_ids: Sequence[int] = ()
    """The tokens of `text`, where the request is resumable and the choice goes on."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The runtime's own totals for a request so far; what it says replaces what was estimated before."""

    input_tokens: int
    """Prompt tokens, those taken from a cache included; shared by all choices and counted once."""
    cached_input_tokens: int
    """How many of them came from a prompt cache."""
    output_tokens: int | None = None
    """Tokens over all choices, where the runtime is the authority (a provider's bill); None where the sum of
    `Piece.tokens` is exact."""


Event = Piece | Counts


@dataclass(frozen=True, slots=True)
class Prepared:
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
class Embedded:
    """Vectors in the order of the inputs, and what they took."""

    vectors: Sequence[Sequence[float]]
    """Unit length, the model's full dimension each."""
    input_tokens: int
    """Tokens read, over all inputs."""


class LoadedModel(Protocol):
    """One model, ready to answer any number of requests at once on one event loop."""

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together in one request."""

    @property
    def embedding_dimensions(self) -> int:
        """The length of its embeddings; 0 where it makes none."""

    @property
    def slots(self) -> int:
        """How many sequences it runs at once; a request takes one for each choice."""

    @property
    def resumes(self) -> bool:
        """Whether it can continue an answer exactly from its tokens, in the forms that allow it."""

    async def prepare(self, request: generation_pb2.GenerateRequest) -> Prepared:
        """Applies the template and counts the prompt, without running the model.

        Raises INVALID_REQUEST (naming `messages`, `prompt`...) where the template refuses the conversation, and
        INVALID_SCHEMA for a schema or grammar known to be bad at this point. Whether the prompt fits is the
        caller's to check.
        """

    def generate(self, prepared: Prepared, *, max_output_tokens: int) -> AsyncGenerator[Sequence[Event], None]:
        """Runs the model; every choice produces at most `max_output_tokens` tokens, never one more.

        Where the request resumes, those come after the tokens that it brings, which are read as part of the prompt.

        Yields whatever has accumulated since the last time, never an empty sequence: a `Counts` before or with the
        first `Piece` where the runtime knows the prompt's counts by then, else at the end; then pieces, the last of
        each choice with `finish`. Closing the generator (`aclose`), or cancelling the task in it, frees the slot at
        once. Memory is bounded by `max_output_tokens` where the reader is slow.

        Raises INVALID_SCHEMA, BACKEND_FAILED, UPSTREAM_FAILED, UPSTREAM_RATE_LIMITED.
        """

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> Embedded:
        """Embeds texts; refuses to read more than `max_input_tokens` over all of them (BUDGET_EXHAUSTED, naming the
        number needed), and texts longer than the context (CONTEXT_LENGTH_EXCEEDED, naming `inputs[i]`)."""

    async def tokenize(self, text: str) -> Sequence[int]:
        """The text's tokens, without any that a template adds; UNSUPPORTED_CAPABILITY where there is no tokenizer."""

    def kv_cache_used(self) -> float:
        """Share of the KV cache in use, 0 to 1; 0 where it is not known."""

    async def close(self) -> None:
        """Ends what runs and frees the model."""


class Backend(Protocol):
    """A runtime: loads the models whose catalog entry names it. Constructed by `__main__` with what it needs."""

    @property
    def name(self) -> str:
        """The catalog's word for it: "llama.cpp", "vllm" or "upstream"."""

    async def load(self, model: CatalogModel) -> LoadedModel:
        """Loads a model by its `source`, `context_tokens` and `options` (the backend checks those itself).

        Raises WEIGHTS_ABSENT, naming the weights and the command that fetches them; INVALID_REQUEST for options it
        does not know; BACKEND_FAILED for weights that it cannot load.
        """
