"""Events of one generation: what a model runtime yields, piece by piece."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from enginehouse.api.inference.v1 import generation_pb2


class FinishReason(enum.Enum):
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
class OutputPiece:
    """What one choice produced since its last piece. Whole characters only, in order."""

    index: int
    """Which choice, from 0."""
    text: str = ""
    """The next text."""
    tokens: int = 0
    """How many tokens it holds, by the model's own count."""
    finish: FinishReason | None = None
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
class TokenCounts:
    """The runtime's own totals for a request so far; what it says replaces what was estimated before."""

    input_tokens: int
    """Prompt tokens, those taken from a cache included; shared by all choices and counted once."""
    cached_input_tokens: int
    """How many of them came from a prompt cache."""
    output_tokens: int | None = None
    """Tokens over all choices, where the runtime is the authority (a provider's bill); None where the sum of
    `OutputPiece.tokens` is exact."""


GenerationEvent = OutputPiece | TokenCounts
