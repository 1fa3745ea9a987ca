"""Reading of the chunks of an OpenAI-compatible provider's stream as events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts

_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH, "tool_calls": FinishReason.TOOL_CALLS}
# The average bytes of a token, for charging if the provider reports no counts.
_BYTES_A_TOKEN = 4
# More than the average bytes of a token in any script: until the provider's counts arrive, a count must not pass them,
# since counted tokens stay charged.
_MAX_BYTES_PER_TOKEN = 16


def estimated_tokens(size: int) -> int:
    """Return the estimated tokens of so many bytes of text."""
    return math.ceil(size / _BYTES_A_TOKEN)


class UpstreamChunkReader:
    """A converter of one request's chunks into events.

    A provider may put any number of tokens into a chunk and reports the number only at the end. Until then a choice's
    count is the number of its log probabilities if there are any, and else the fewest tokens that its chunks can have;
    it never passes the bound that the provider was given.

    Args:
        max_output_tokens: that bound, for each choice.
    """

    def __init__(self, *, max_output_tokens: int) -> None:
        self._most = max_output_tokens
        self._bytes: dict[int, int] = {}
        self._counted: dict[int, int] = {}
        self.usage: TokenCounts | None = None
        """The provider's counts, once it has reported them."""
        self.finished: set[int] = set()
        """The choices that have ended."""

    def read(self, chunk: Mapping[str, Any]) -> Iterator[GenerationEvent]:
        """Return the events of one chunk; raise TypeError, KeyError or ValueError for one not of OpenAI's form."""
        for choice in chunk.get("choices") or ():
            piece = self._read_choice(choice)
            if piece.text or piece.finish or piece.reasoning or piece.tool_calls or piece.logprobs:
                yield piece
        usage = chunk.get("usage")
        if usage:
            self.usage = _counts(usage)

    def estimated_output_tokens(self) -> int:
        """Return the tokens over all choices, by the length of their text."""
        return sum(min(estimated_tokens(size), self._most) for size in self._bytes.values())

    def _read_choice(self, choice: Mapping[str, Any]) -> OutputPiece:
        index = int(choice.get("index") or 0)
        delta = choice.get("delta")
        if delta is None:
            piece = OutputPiece(index, choice.get("text") or "", logprobs=_completion_logprobs(choice.get("logprobs")))
        else:
            reasoning = delta.get("reasoning_content") or delta.get("reasoning") or ""
            piece = OutputPiece(index, delta.get("content") or delta.get("refusal") or "", reasoning=reasoning)
            piece.tool_calls = [_tool_call(call) for call in delta.get("tool_calls") or ()]
            piece.logprobs = _chat_logprobs(choice.get("logprobs"))
        piece.tokens = self._growth(piece)
        reason = choice.get("finish_reason")
        if reason is not None:
            piece.finish = _FINISH.get(reason, FinishReason.STOP)
            self.finished.add(index)
        return piece

    def _growth(self, piece: OutputPiece) -> int:
        size = len(piece.text.encode()) + len(piece.reasoning.encode())
        size += sum(len(call.name) + len(call.arguments.encode()) for call in piece.tool_calls)
        size += self._bytes.get(piece.index, 0)
        self._bytes[piece.index] = size
        before = self._counted.get(piece.index, 0)
        if piece.logprobs:
            total = before + len(piece.logprobs)
        elif piece.text or piece.reasoning or piece.tool_calls:
            total = max(before + 1, math.ceil(size / _MAX_BYTES_PER_TOKEN))
        else:
            total = before
        self._counted[piece.index] = total = min(total, self._most)
        return total - before


def _counts(usage: Mapping[str, Any]) -> TokenCounts:
    details = usage.get("prompt_tokens_details") or {}
    prompt = max(0, int(usage["prompt_tokens"]))
    cached = max(0, int(details.get("cached_tokens") or 0))
    return TokenCounts(prompt, min(cached, prompt), max(0, int(usage["completion_tokens"])))


def _tool_call(call: Mapping[str, Any]) -> generation_pb2.ToolCallDelta:
    function = call.get("function") or {}
    return generation_pb2.ToolCallDelta(
        index=int(call.get("index") or 0),
        id=call.get("id") or "",
        name=function.get("name") or "",
        arguments=function.get("arguments") or "",
    )


def _chat_logprobs(logprobs: Mapping[str, Any] | None) -> Sequence[generation_pb2.TokenLogprob]:
    if not logprobs:
        return ()
    read = []
    for entry in logprobs.get("content") or ():
        token = _logprob(entry["token"], entry["logprob"], entry.get("bytes"))
        token.top.extend(_logprob(top["token"], top["logprob"], top.get("bytes")) for top in entry["top_logprobs"])
        read.append(token)
    return read


def _completion_logprobs(logprobs: Mapping[str, Any] | None) -> Sequence[generation_pb2.TokenLogprob]:
    if not logprobs:
        return ()
    read = []
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    for token, logprob, top in zip(logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True):
        entry = _logprob(token, logprob, None)
        ranked = sorted((top or {}).items(), key=lambda pair: -pair[1])
        entry.top.extend(_logprob(other, value, None) for other, value in ranked)
        read.append(entry)
    return read


def _logprob(token: str, logprob: float, spelled: Sequence[int] | None) -> generation_pb2.TokenLogprob:
    return generation_pb2.TokenLogprob(
        token=token, bytes=token.encode() if spelled is None else bytes(spelled), logprob=logprob
    )
