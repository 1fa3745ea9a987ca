"""Reading of the chunks that llama.cpp's server writes while it generates, and of its errors."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.generation.conversations import TemplateRefusal
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts
from enginehouse.kit.errors import Reason, ServiceError

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "tool_calls": FinishReason.TOOL_CALLS}


# What llama.cpp says of an answer that its reader of calls and reasoning cannot read.
_UNREADABLE = ("does not match the expected", "invalid diff", "failed to parse input")


class UnreadableAnswer(ServiceError):
    """llama.cpp cannot read the rest of an answer as the model's form of calls and reasoning."""


class LlamaCppChunkReader:
    """A converter of the chunks of one llama.cpp request, which may have several choices, into events.

    llama.cpp holds back bytes until they are whole characters, so the number of tokens in a chunk is the growth of the
    choice's running count, not one.

    Args:
        first_choice: the index of its first choice in the whole request.
        input_tokens: tokens of the prompt.
        counts_prompt: true if this part of the request reports the prompt.
        top_logprobs: the number of alternatives for a token; -1 for no log probabilities at all.
    """

    def __init__(self, *, first_choice: int, input_tokens: int, counts_prompt: bool, top_logprobs: int) -> None:
        self._first_choice = first_choice
        self._input_tokens = input_tokens
        self._top_logprobs = top_logprobs
        self._counted = not counts_prompt
        self._tokens: dict[int, int] = {}
        self._ending: tuple[int, FinishReason] | None = None

    def read(self, chunk: dict[str, Any], *, constrained: bool) -> Iterator[GenerationEvent]:
        """Return the events of a chunk; raise the error of an error chunk."""
        if "error" in chunk:
            raise to_error(chunk["error"], constrained=constrained)
        timings = chunk.get("timings")
        if not self._counted and timings is not None:
            progress = chunk.get("prompt_progress")
            cached = int(progress["cache"]) if progress else int(timings["cache_n"])
            self._counted = True
            yield TokenCounts(input_tokens=self._input_tokens, cached_input_tokens=min(cached, self._input_tokens))
        choices = chunk.get("choices") or ()
        if not choices and self._ending is not None and timings is not None:
            index, finish = self._ending
            self._ending = None
            yield OutputPiece(index, tokens=self._growth(index, timings), finish=finish)
        for choice in choices:
            yield from self._read_choice(choice, timings)

    def end(self, index: int, *, tokens: int, finish: FinishReason) -> OutputPiece:
        """Return the last piece of a choice whose end llama.cpp does not report, with `tokens` in all where known."""
        seen = self._tokens.get(index, 0)
        self._tokens[index] = max(seen, tokens)
        return OutputPiece(index, tokens=self._tokens[index] - seen, finish=finish)

    def _read_choice(self, choice: dict[str, Any], timings: dict[str, Any] | None) -> Iterator[GenerationEvent]:
        index = self._first_choice + int(choice["index"])
        delta = choice.get("delta")
        if delta is None:
            piece = OutputPiece(index, choice.get("text") or "")
        else:
            piece = OutputPiece(index, delta.get("content") or "", reasoning=delta.get("reasoning_content") or "")
            if delta.get("tool_calls"):
                piece.tool_calls = [_tool_call(call) for call in delta["tool_calls"]]
        logprobs = choice.get("logprobs")
        if logprobs and self._top_logprobs >= 0:
            piece.logprobs = [read_logprob(entry, self._top_logprobs) for entry in logprobs.get("content") or ()]
        if timings is not None:
            piece.tokens = self._growth(index, timings)
        reason = choice.get("finish_reason")
        if reason is not None:
            finish = _FINISH.get(reason, FinishReason.STOP)
            if timings is None:
                # A chat's last chunk has no counts; they follow in a chunk of their own.
                self._ending = (index, finish)
            else:
                piece.finish = finish
        if piece.text or piece.tokens or piece.finish or piece.reasoning or piece.tool_calls:
            yield piece

    def _growth(self, index: int, timings: dict[str, Any]) -> int:
        total = int(timings["predicted_n"])
        growth = total - self._tokens.get(index, 0)
        self._tokens[index] = total
        return growth


def read_logprob(entry: dict[str, Any], top: int) -> generation_pb2.TokenLogprob:
    """Return a token's log probability, with so many alternatives."""
    spelled = bytes(entry["bytes"])
    read = generation_pb2.TokenLogprob(token=_text(spelled), bytes=spelled, logprob=_finite(entry["logprob"]))
    for other in (entry.get("top_logprobs") or ())[:top]:
        spelled = bytes(other["bytes"])
        read.top.add(token=_text(spelled), bytes=spelled, logprob=_finite(other["logprob"]))
    return read


def _text(spelled: bytes) -> str:
    return spelled.decode("utf-8", "replace")


def _finite(logprob: float | None) -> float:
    # JSON has no infinity: a token of probability zero arrives as null.
    return -3.4e38 if logprob is None or not math.isfinite(logprob) else logprob


def _tool_call(call: dict[str, Any]) -> generation_pb2.ToolCallDelta:
    function = call.get("function") or {}
    name = function.get("name") or ""
    return generation_pb2.ToolCallDelta(
        index=int(call.get("index") or 0),
        id=(call.get("id") or f"call_{secrets.token_hex(12)}") if name else "",
        name=name,
        arguments=function.get("arguments") or "",
    )


def to_error(error: Any, *, constrained: bool) -> ServiceError:
    """Return the error for a caller from llama.cpp's error body.

    Args:
        error: its `error` object.
        constrained: true if the request has a grammar, which is then the cause of a failed sampler.
    """
    if not isinstance(error, dict):
        return ServiceError(Reason.BACKEND_FAILED, f"llama.cpp failed: {error}")
    message = str(error.get("message", "no message"))[:2000]
    lowered = message.lower()
    if error.get("type") == "exceed_context_size_error":
        return ServiceError(
            Reason.CONTEXT_LENGTH_EXCEEDED,
            f"the prompt is too long: {error.get('n_prompt_tokens')} tokens in a context of {error.get('n_ctx')}",
        )
    if any(words in lowered for words in _UNREADABLE):
        return UnreadableAnswer(Reason.BACKEND_FAILED, f"llama.cpp cannot read what the model wrote: {message}")
    if constrained and ("grammar" in lowered or "sampler" in lowered):
        return ServiceError(
            Reason.INVALID_SCHEMA,
            "invalid grammar: it cannot be compiled, or allows no next token; check it with llama.cpp's GBNF guide "
            f"({message})",
        )
    if "jinja" in lowered or "template" in lowered:
        return TemplateRefusal(_last_line(message))
    if error.get("code") == 400:
        return ServiceError(Reason.INVALID_REQUEST, f"invalid request: llama.cpp refuses it: {message}")
    return ServiceError(Reason.BACKEND_FAILED, f"llama.cpp failed: {message}")


def _last_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return lines[-1].removeprefix("Error: ") if lines else message
