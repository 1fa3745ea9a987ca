"""What the forms of answer have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import orjson

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2

DONE = b"data: [DONE]\n\n"
"""Ends every stream."""

FINISH_REASONS = {
    generation_pb2.FINISH_REASON_STOP: "stop",
    generation_pb2.FINISH_REASON_LENGTH: "length",
    generation_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
}

# OpenAI's figure for "not among the candidates": JSON has no infinity.
_MIN_LOGPROB = -9999.0


class Output(Protocol):
    """Turns an engine's messages into the bytes of an answer."""

    content_type: str
    """The answer's media type."""

    def add(self, response: generation_pb2.GenerateResponse, *, first_choice: int) -> bytes:
        """Takes one message, whose choices count from `first_choice`; returns what can be sent now."""

    def end(self, usage: usage_pb2.Usage) -> bytes:
        """Takes the whole call's usage; returns the rest."""


def event(value: object) -> bytes:
    """A server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def logprob(value: float) -> float:
    """A log probability that JSON can carry."""
    return max(value, _MIN_LOGPROB)


def chat_logprobs(entries: Iterable[generation_pb2.TokenLogprob]) -> list[dict[str, Any]]:
    """The `logprobs.content` entries of a chat choice."""
    return [_entry(entry) | {"top_logprobs": [_entry(top) for top in entry.top]} for entry in entries]


def stopped_by(delta: generation_pb2.ChoiceDelta) -> dict[str, str]:
    """The extra member of a choice that the budget's cap ended; nothing otherwise."""
    return {"stopped_by": "budget"} if delta.stopped_by == generation_pb2.STOPPED_BY_BUDGET else {}


def _entry(entry: generation_pb2.TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": logprob(entry.logprob), "bytes": list(entry.bytes)}
