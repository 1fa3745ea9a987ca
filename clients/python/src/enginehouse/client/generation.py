"""Results of a generation, as it grows and when it is complete, and of embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client.requests.generation import ToolCall
from enginehouse.client.usage import usage_by_unit


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the answers to a request.

    Attributes:
        text: the text of the answer.
        reasoning: the model's reasoning, if the model separates it from the answer.
        tool_calls: the tool calls that the model asks for.
        finish_reason: `stop`, `length` or `tool_calls`; empty until the choice has ended.
        stopped_by: `max_output_tokens`, `context` or `budget` when the finish reason is `length`; else empty.
        logprobs: the log probabilities of its tokens, if asked for.
    """

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    stopped_by: str
    logprobs: tuple[generation_pb2.TokenLogprob, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """An answer, complete or as far as it has come.

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
        """The reason why the first choice ended."""
        return self.choices[0].finish_reason if self.choices else ""

    @property
    def stopped_by(self) -> str:
        """The bound that ended the first choice."""
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
        """Return the embeddings that a response holds."""
        return cls(
            request_id=response.request_id,
            model=response.model,
            vectors=tuple(tuple(embedding.values) for embedding in response.embeddings),
            usage=usage_by_unit(response.usage),
            cost_nanos=response.usage.cost_nanos,
        )


class GenerationBuilder:
    """A builder of a generation from the messages of its stream."""

    def __init__(self, *, request_id: str) -> None:
        self._request_id = request_id
        self._model = ""
        self._choices: dict[int, _ChoiceBuilder] = {}
        self._summary: generation_pb2.GenerationSummary | None = None

    def add(self, message: generation_pb2.GenerateResponse) -> None:
        """Add the next message."""
        self._request_id = message.request_id or self._request_id
        self._model = message.model or self._model
        for delta in message.deltas:
            self._choices.setdefault(delta.index, _ChoiceBuilder()).add(delta)
        if message.HasField("summary"):
            self._summary = message.summary

    def build(self) -> Generation:
        """Return the generation as far as it has come."""
        summary = self._summary or generation_pb2.GenerationSummary()
        return Generation(
            request_id=self._request_id,
            model=self._model,
            choices=tuple(choice.build() for _, choice in sorted(self._choices.items())),
            usage=usage_by_unit(summary.usage),
            cost_nanos=summary.usage.cost_nanos,
            time_to_first_token_ms=summary.time_to_first_token_ms,
            total_ms=summary.total_ms,
            complete=self._summary is not None,
        )


class _ChoiceBuilder:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.tool_calls: dict[int, _ToolCallBuilder] = {}
        self.logprobs: list[generation_pb2.TokenLogprob] = []
        self.finish_reason = ""
        self.stopped_by = ""

    def add(self, delta: generation_pb2.ChoiceDelta) -> None:
        self.text.append(delta.text)
        self.reasoning.append(delta.reasoning)
        self.logprobs.extend(delta.logprobs)
        for call_delta in delta.tool_calls:
            call = self.tool_calls.setdefault(call_delta.index, _ToolCallBuilder())
            call.id = call.id or call_delta.id
            call.name = call.name or call_delta.name
            call.arguments.append(call_delta.arguments)
        if delta.finish_reason:
            self.finish_reason = _word(generation_pb2.FinishReason.Name(delta.finish_reason), "FINISH_REASON_")
        if delta.stopped_by:
            self.stopped_by = _word(generation_pb2.StoppedBy.Name(delta.stopped_by), "STOPPED_BY_")

    def build(self) -> Choice:
        return Choice(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=tuple(
                ToolCall(id=call.id, name=call.name, arguments="".join(call.arguments))
                for _, call in sorted(self.tool_calls.items())
            ),
            finish_reason=self.finish_reason,
            stopped_by=self.stopped_by,
            logprobs=tuple(self.logprobs),
        )


class _ToolCallBuilder:
    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
