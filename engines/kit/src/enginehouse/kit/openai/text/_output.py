"""The common parts of all forms of answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import orjson
from google.api import httpbody_pb2

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2

DONE = b"data: [DONE]\n\n"
"""The end of every stream."""

JSON = "application/json"

FINISH_REASONS = {
    generation_pb2.FINISH_REASON_STOP: "stop",
    generation_pb2.FINISH_REASON_LENGTH: "length",
    generation_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
}

# OpenAI's value for "not among the candidates": JSON has no infinity.
_MIN_LOGPROB = -9999.0


class Output(Protocol):
    """A writer of an engine's messages as the bytes of an answer."""

    content_type: str
    """The answer's media type."""

    def add(self, response: generation_pb2.GenerateResponse, *, first_choice: int) -> bytes:
        """Add one message, whose choices count from `first_choice`; return the bytes to send now."""

    def end(self, usage: usage_pb2.Usage) -> bytes:
        """Add the whole call's usage; return the remaining bytes."""


def event(value: object) -> bytes:
    """Return a server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def logprob(value: float) -> float:
    """Return a log probability that JSON can express."""
    return max(value, _MIN_LOGPROB)


def chat_logprobs(entries: Iterable[generation_pb2.TokenLogprob]) -> list[dict[str, Any]]:
    """Return the `logprobs.content` entries of a chat choice."""
    return [_entry(entry) | {"top_logprobs": [_entry(top) for top in entry.top]} for entry in entries]


def stopped_by(delta: generation_pb2.ChoiceDelta) -> dict[str, str]:
    """Return the extra member of a choice that the budget's cap ended; nothing otherwise."""
    return {"stopped_by": "budget"} if delta.stopped_by == generation_pb2.STOPPED_BY_BUDGET else {}


def _entry(entry: generation_pb2.TokenLogprob) -> dict[str, Any]:
    return {"token": entry.token, "logprob": logprob(entry.logprob), "bytes": list(entry.bytes)}


def is_last_piece(body: httpbody_pb2.HttpBody) -> bool:
    """Return whether a text answer ends with this message: it is a JSON object, or ends with the mark."""
    return bool(body.content_type == JSON or body.data.endswith(DONE))
