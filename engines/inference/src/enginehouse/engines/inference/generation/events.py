"""Events of one generation, as a model runtime yields them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from enginehouse.api.inference.v1 import generation_pb2


class FinishReason(enum.Enum):
    """The reason why a choice ended, as the runtime reports it."""

    STOP = enum.auto()
    """The model ended its turn, or a stop text appeared."""
    LENGTH = enum.auto()
    """`max_output_tokens` tokens were produced."""
    CONTEXT = enum.auto()
    """The context was full before that."""
    TOOL_CALLS = enum.auto()
    """The model called tools."""


@dataclass(slots=True)
class OutputPiece:
    """The output of one choice since its last piece. Whole characters only, in order."""

    index: int
    """The choice, from 0."""
    text: str = ""
    """The next text."""
    tokens: int = 0
    """The number of its tokens, by the model's own count."""
    finish: FinishReason | None = None
    """Set in the choice's last piece."""
    reasoning: str = ""
    """The next text of the model's reasoning, if the runtime separates it."""
    tool_calls: Sequence[generation_pb2.ToolCallDelta] = ()
    """The next pieces of tool calls."""
    logprobs: Sequence[generation_pb2.TokenLogprob] = ()
    """One for each token, when asked for."""
    token_ids: Sequence[int] = ()
    """The tokens of `text`, if the request is resumable and the choice goes on."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The runtime's own totals for a request so far, which replace earlier estimates."""

    input_tokens: int
    """Prompt tokens, including cached ones; shared by all choices and counted once."""
    cached_input_tokens: int
    """The number of them that came from a prompt cache."""
    output_tokens: int | None = None
    """Tokens over all choices, if the runtime is the authority (a provider's bill); None if the sum of
    `OutputPiece.tokens` is exact."""


GenerationEvent = OutputPiece | TokenCounts
