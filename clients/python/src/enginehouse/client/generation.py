"""What comes back: a generation as it grows and when it is whole, and embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client.requests.generation import ToolCall
from enginehouse.client.usage import usage_by_unit

__all__ = ["Choice", "Embeddings", "Generation", "GenerationBuilder", "ToolCall"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the answers to a request.

    Attributes:
        text: what the model wrote.
        reasoning: what it thought, where the model tells it apart.
        tool_calls: the tools that it wants called.
        finish_reason: `stop`, `length` or `tool_calls`; empty while it is not ended.
        stopped_by: with `length`: `max_output_tokens`, `context` or `budget`; else empty.
        logprobs: of its tokens, when asked for.
    """

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    stopped_by: str
    logprobs: tuple[generation_pb2.TokenLogprob, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A whole answer, or as much of one as has come.

    Attributes:
        request_id: the request's id, for `spend` and for the logs.
        model: the model that answered.
        choices: the answers, as many as were asked for.
        usage: amounts by unit, such as `{"input_tokens": 9, "output_tokens": 30}`; empty until the end.
        cost_nanos: the charge in nano-dollars; 0 until the end.
        time_to_first_token_ms: as the engine measured it.
        total_ms: as the engine measured it.
        complete: whether the summary, which ends every answer, has come.
    """

    request_id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Mapping[str, int]
    cost_nanos: int
    time_to_first_token_ms: int
    total_ms: int
    complete: bool

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.choices[0].text if self.choices else ""

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The first choice's tool calls."""
        return self.choices[0].tool_calls if self.choices else ()

    @property
    def finish_reason(self) -> str:
        """Why the first choice ended."""
        return self.choices[0].finish_reason if self.choices else ""

    @property
    def stopped_by(self) -> str:
        """Which bound ended the first choice."""
        return self.choices[0].stopped_by if self.choices else ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors, in the order of the inputs.

    Attributes:
        request_id: the request's id.
        model: the model that answered.
        vectors: unit-length vectors.
        usage: amounts by unit.
        cost_nanos: the charge in nano-dollars.
    """

    request_id: str
    model: str
    vectors: tuple[tuple[float, ...], ...]
    usage: Mapping[str, int]
    cost_nanos: int

    @classmethod
    def of(cls, response: generation_pb2.EmbedResponse) -> Embeddings:
        """From the contract's answer."""
        return cls(
            request_id=response.request_id,
            model=response.model,
            vectors=tuple(tuple(each.values) for each in response.embeddings),
            usage=usage_by_unit(response.usage),
            cost_nanos=response.usage.cost_nanos,
        )


class _ToolCallBuilder:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class _ChoiceBuilder:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, _ToolCallBuilder] = {}
        self.logprobs: list[generation_pb2.TokenLogprob] = []
        self.finish_reason = ""
        self.stopped_by = ""

    def add(self, delta: generation_pb2.ChoiceDelta) -> None:
        self.text.append(delta.text)
        self.reasoning.append(delta.reasoning)
        self.logprobs.extend(delta.logprobs)
        for piece in delta.tool_calls:
            call = self.calls.setdefault(piece.index, _ToolCallBuilder())
            call.id = call.id or piece.id
            call.name = call.name or piece.name
            call.arguments.append(piece.arguments)
        if delta.finish_reason:
            self.finish_reason = _word(generation_pb2.FinishReason.Name(delta.finish_reason), "FINISH_REASON_")
        if delta.stopped_by:
            self.stopped_by = _word(generation_pb2.StoppedBy.Name(delta.stopped_by), "STOPPED_BY_")

    def choice(self) -> Choice:
        return Choice(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
                for _, call in sorted(self.calls.items())
            ),
            finish_reason=self.finish_reason,
            stopped_by=self.stopped_by,
            logprobs=tuple(self.logprobs),
        )


class GenerationBuilder:
    """Puts a stream's messages together."""

    def __init__(self, *, request_id: str) -> None:
        self._request_id = request_id
        self._model = ""
        self._choices: dict[int, _ChoiceBuilder] = {}
        self._summary: generation_pb2.GenerationSummary | None = None

    def add(self, message: generation_pb2.GenerateResponse) -> str:
        """Takes the next message; returns what it adds to the first choice's text."""
        self._request_id = message.request_id or self._request_id
        self._model = message.model or self._model
        text = ""
        for delta in message.deltas:
            self._choices.setdefault(delta.index, _ChoiceBuilder()).add(delta)
            if delta.index == 0:
                text = delta.text
        if message.HasField("summary"):
            self._summary = message.summary
        return text

    def generation(self) -> Generation:
        """What has come so far."""
        summary = self._summary or generation_pb2.GenerationSummary()
        return Generation(
            request_id=self._request_id,
            model=self._model,
            choices=tuple(growing.choice() for _, growing in sorted(self._choices.items())),
            usage=usage_by_unit(summary.usage),
            cost_nanos=summary.usage.cost_nanos,
            time_to_first_token_ms=summary.time_to_first_token_ms,
            total_ms=summary.total_ms,
            complete=self._summary is not None,
        )


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
