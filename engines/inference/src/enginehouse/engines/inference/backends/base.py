"""The interface between the text engine and a model runtime.

A `TextBackend` inspects and loads models; a `LoadedTextModel` answers for one of them. Neither knows gRPC calls,
grants, prices or queues: the engine has validated the request, decided how many tokens it may produce, and accounts for
the output. Both raise `enginehouse.kit.errors.ServiceError` and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.generation.events import GenerationEvent
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError


@dataclass(slots=True)
class PreparedRequest:
    """A request prepared for one model: its template applied and its prompt counted."""

    request: generation_pb2.GenerateRequest
    """The request, validated, with the model's name in `model`."""
    input_tokens: int
    """Tokens of the prompt: exact, or (without a tokenizer) an upper bound."""
    state: object = None
    """The runtime's own data, for `generate`."""
    output_key: bytes = b""
    """Equal on any two engines that would make the same tokens, however the work is divided; empty if the answer cannot
    be continued from its tokens, or was not asked to be resumable."""
    likely_input_tokens: int | None = None
    """The prompt tokens to charge if the answer is cut before the runtime reports them; None means `input_tokens`."""
    prompt_text: str = ""
    """The text of a prompt that came as tokens, if it is to be echoed."""
    patience_s: float = math.inf
    """Seconds that the runtime may wait before it retries a failure; set by the engine. 0 if another model would take
    over."""


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """Vectors in the order of the inputs, and the tokens read for them."""

    vectors: Sequence[Sequence[float]]
    """Unit length, the model's full dimension each."""
    input_tokens: int
    """Tokens read, over all inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextModelInfo:
    """The properties of a model that are known without loading it."""

    slots: int
    """The number of sequences that it runs at once; a request takes one for each choice."""
    memory_bytes: int
    """An estimate of the memory that it takes once loaded; 0 for a model that takes none, which stays loaded."""
    context_tokens: int
    """The bound on the tokens of prompt and answer together in one request."""
    embedding_dimensions: int = 0
    """The length of its embeddings; 0 if it makes none."""
    may_resume: bool = False
    """True if it can continue an answer exactly from its tokens, in the forms that allow it. An assumption until it was
    loaded once, where that has to be measured."""


class LoadedTextModel(Protocol):
    """One model, ready to answer any number of requests at once on one event loop."""

    @property
    def info(self) -> TextModelInfo:
        """Its properties, now that it is loaded."""

    async def prepare(self, request: generation_pb2.GenerateRequest) -> PreparedRequest:
        """Apply the template and count the prompt, without running the model.

        The caller checks whether the prompt fits.

        Raises:
            ServiceError: INVALID_REQUEST (naming `messages`, `prompt`...) if the template refuses the conversation;
                INVALID_SCHEMA for a schema or grammar that is known to be bad at this point.
        """

    def generate(
        self, prepared: PreparedRequest, *, max_output_tokens: int
    ) -> AsyncGenerator[Sequence[GenerationEvent], None]:
        """Run the model; every choice produces at most `max_output_tokens` tokens, never one more.

        With 0, for requests with `prompt_only`, the prompt is read and every choice ends at once. With `echo` and
        `logprobs`, every choice's first pieces have the log probabilities of the prompt's tokens, without its text.

        In a request that resumes, those come after the tokens that it brings, which are read as part of the prompt.

        Yield everything that has accumulated since the last time, never an empty sequence: a `TokenCounts` before or
        with the first `OutputPiece` where the runtime knows the prompt's counts by then, else at the end; then pieces,
        the last of each choice with `finish`. Closing the generator (`aclose`), or cancelling the task in it, frees the
        slot at once. Memory is bounded by `max_output_tokens` where the reader is slow.

        Raises:
            ServiceError: INVALID_SCHEMA, BACKEND_FAILED, UPSTREAM_FAILED, UPSTREAM_RATE_LIMITED.
        """

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Embed texts.

        Raises:
            ServiceError: BUDGET_EXHAUSTED if the texts together have over `max_input_tokens`, naming the number needed;
                CONTEXT_LENGTH_EXCEEDED for a text longer than the context, naming `inputs[i]`.
        """

    async def tokenize(self, text: str) -> Sequence[int]:
        """Return the text's tokens, without any that a template adds; raise UNSUPPORTED_CAPABILITY without a
        tokenizer.
        """

    def kv_cache_used(self) -> float:
        """Return the share of the KV cache in use, 0 to 1; 0 if it is not known."""

    async def close(self) -> None:
        """End what runs and free the model."""


def refuse_prompt_scores(request: generation_pb2.GenerateRequest, *, backend: str) -> None:
    """Raise UNSUPPORTED_CAPABILITY, naming the backend, where a request needs more of the prompt than its reading."""
    if request.prompt_only:
        field, asked = "prompt_only", "reading a prompt without an answer (max_tokens 0)"
    elif request.echo and request.logprobs:
        field, asked = "echo", "log probabilities of an echoed prompt"
    else:
        return
    message = f"{asked} is not supported by the backend {backend}; use a model of llama.cpp"
    raise ServiceError(Reason.UNSUPPORTED_CAPABILITY, message, violations=[FieldViolation(field, message)])


class TextBackend(Protocol):
    """A runtime, which loads the models whose catalog entry names it."""

    @property
    def name(self) -> str:
        """Its name in the catalog: "llama.cpp", "onnxruntime", "vllm" or "upstream"."""

    async def inspect(self, model: CatalogModel) -> TextModelInfo:
        """Return the properties of a model by its `source`, `context_tokens` and `options`, without loading it.

        Raises:
            ServiceError: WEIGHTS_ABSENT, naming the weights and the command that fetches them; INVALID_REQUEST for
                unknown options (the backend checks those itself); BACKEND_FAILED for weights of another kind.
        """

    async def load(self, model: CatalogModel) -> LoadedTextModel:
        """Load a model.

        Raises:
            ServiceError: as `inspect` does; BACKEND_FAILED for weights that it cannot load.
        """
