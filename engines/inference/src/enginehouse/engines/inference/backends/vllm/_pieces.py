"""Reading of vLLM's outputs as events, without importing vLLM."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts
from enginehouse.kit.errors import Reason, ServiceError

_MIN_LOGPROB = -3.4e38


class OutputReader:
    """A converter of the outputs of one request into events.

    Args:
        request: the request.
        input_tokens: tokens of the prompt.
    """

    def __init__(self, *, request: generation_pb2.GenerateRequest, input_tokens: int) -> None:
        self._input_tokens = input_tokens
        self._counted = False
        self._top_logprobs = request.top_logprobs if request.logprobs else -1
        mode = request.tool_choice.mode if request.tools else generation_pb2.ToolChoice.MODE_UNSPECIFIED
        self._named = request.tool_choice.name if mode == generation_pb2.ToolChoice.MODE_NAMED else ""
        self._required = mode == generation_pb2.ToolChoice.MODE_REQUIRED
        self._begun: set[int] = set()
        self._calls: dict[int, list[str]] = {}

    def read(self, output: Any) -> list[GenerationEvent]:
        """Return the events of one `RequestOutput` with new output; raise BACKEND_FAILED for an aborted request."""
        events: list[GenerationEvent] = []
        if not self._counted and output.num_cached_tokens is not None:
            self._counted = True
            events.append(TokenCounts(self._input_tokens, min(output.num_cached_tokens, self._input_tokens)))
        for completion in output.outputs:
            piece = self._piece(completion)
            if piece.tokens or piece.text or piece.finish or piece.tool_calls:
                events.append(piece)
        return events

    def _piece(self, completion: Any) -> OutputPiece:
        piece = OutputPiece(
            completion.index, completion.text, len(completion.token_ids), _finish(completion.finish_reason)
        )
        if self._top_logprobs >= 0 and completion.logprobs:
            piece.logprobs = [
                self._logprob(token, ranked)
                for token, ranked in zip(completion.token_ids, completion.logprobs, strict=True)
            ]
        if self._named:
            self._call_named(piece)
        elif self._required:
            self._call_required(piece)
        return piece

    def _call_named(self, piece: OutputPiece) -> None:
        """Convert the text, which is the tool's arguments."""
        delta = generation_pb2.ToolCallDelta(arguments=piece.text)
        if piece.index not in self._begun:
            self._begun.add(piece.index)
            delta.id, delta.name = _new_id(), self._named
        if delta.arguments or delta.id:
            piece.tool_calls = [delta]
        piece.text = ""
        if piece.finish is FinishReason.STOP:
            piece.finish = FinishReason.TOOL_CALLS

    def _call_required(self, piece: OutputPiece) -> None:
        """Convert the text, which is a JSON list of calls and can be read only when it is whole."""
        texts = self._calls.setdefault(piece.index, [])
        texts.append(piece.text)
        piece.text = ""
        if piece.finish is not FinishReason.STOP:
            return
        piece.finish = FinishReason.TOOL_CALLS
        piece.tool_calls = [
            generation_pb2.ToolCallDelta(
                index=index,
                id=_new_id(),
                name=call["name"],
                arguments=json.dumps(call["arguments"], ensure_ascii=False),
            )
            for index, call in enumerate(json.loads("".join(texts)))
        ]

    def _logprob(self, token: int, ranked: Mapping[int, Any]) -> generation_pb2.TokenLogprob:
        read = _token(ranked[token])
        best = sorted(ranked.values(), key=lambda entry: -entry.logprob)[: self._top_logprobs]
        read.top.extend(_token(entry) for entry in best)
        return read


def _token(entry: Any) -> generation_pb2.TokenLogprob:
    text = entry.decoded_token or ""
    return generation_pb2.TokenLogprob(token=text, bytes=text.encode(), logprob=max(entry.logprob, _MIN_LOGPROB))


def _finish(reason: str | None) -> FinishReason | None:
    if reason is None:
        return None
    if reason == "stop":
        return FinishReason.STOP
    if reason == "length":
        return FinishReason.LENGTH
    raise ServiceError(Reason.BACKEND_FAILED, f"vLLM aborted the request ({reason})")


def _new_id() -> str:
    return f"call_{secrets.token_hex(12)}"
