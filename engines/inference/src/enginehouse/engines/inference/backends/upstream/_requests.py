"""Conversion of a `GenerateRequest` into the JSON body of OpenAI-compatible providers."""

from __future__ import annotations

from typing import Any, Literal

import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.upstream._options import UpstreamOptions
from enginehouse.engines.inference.generation.conversations import with_broken_calls_as_text
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

_ROLES = {
    generation_pb2.ROLE_SYSTEM: "system",
    generation_pb2.ROLE_USER: "user",
    generation_pb2.ROLE_ASSISTANT: "assistant",
    generation_pb2.ROLE_TOOL: "tool",
}
_TOOL_CHOICES = {
    generation_pb2.ToolChoice.MODE_UNSPECIFIED: "auto",
    generation_pb2.ToolChoice.MODE_NONE: "none",
    generation_pb2.ToolChoice.MODE_REQUIRED: "required",
}
_Optional = Literal[
    "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "top_k", "min_p", "repeat_penalty"
]
_SAMPLING: tuple[_Optional, ...] = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")
_EXTENSIONS: tuple[_Optional, ...] = ("top_k", "min_p", "repeat_penalty")

# A message's role and separators, as chat templates write them.
_AROUND_A_MESSAGE = 16


def to_body(request: generation_pb2.GenerateRequest, *, model: str, options: UpstreamOptions) -> dict[str, Any]:
    """Return the body without its bound on output, which the caller adds; schemas are embedded as the text they are.

    Raises:
        ServiceError: UNSUPPORTED_CAPABILITY for a parameter that the provider may not accept, INVALID_SCHEMA for a
            schema that is not JSON.
    """
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    if request.messages:
        # Many providers refuse a call whose arguments are no JSON.
        body["messages"] = [_message(message) for message in with_broken_calls_as_text(request.messages)]
    else:
        # The engine echoes the prompt itself.
        body["prompt"] = request.prompt or list(request.prompt_token_ids)
    sampling = request.sampling
    for name in _SAMPLING:
        if sampling.HasField(name):
            body[name] = _shortest(getattr(sampling, name))
    for name in _EXTENSIONS:
        if sampling.HasField(name):
            body[name] = _shortest(_extension(f"sampling.{name}", getattr(sampling, name), options))
    if sampling.logit_bias:
        body["logit_bias"] = {str(change.token_id): _shortest(change.bias) for change in sampling.logit_bias}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.choices > 1:
        body["n"] = request.choices
    _add_logprobs(request, body)
    _add_format(request, body, options)
    _add_tools(request, body)
    return body


def prompt_bytes(request: generation_pb2.GenerateRequest) -> int:
    """Return the size of a prompt's texts, with a little for what a chat template puts around them."""
    total = len(request.prompt.encode()) + 4 * len(request.prompt_token_ids)
    for message in request.messages:
        total += _AROUND_A_MESSAGE + len(message.content.encode()) + len(message.name.encode())
        total += sum(len((call.name + call.arguments + call.id).encode()) for call in message.tool_calls)
    for tool in request.tools:
        text = tool.name + tool.description + tool.parameters_json_schema
        total += 4 * _AROUND_A_MESSAGE + len(text.encode())
    return total + len(request.format.json_schema.encode()) + _AROUND_A_MESSAGE


def _message(message: generation_pb2.Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": _ROLES[message.role], "content": message.content}
    if message.name:
        body["name"] = message.name
    if message.tool_calls:
        body["content"] = message.content or None
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _add_logprobs(request: generation_pb2.GenerateRequest, body: dict[str, Any]) -> None:
    if not request.logprobs:
        return
    if request.messages:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs
    else:
        body["logprobs"] = request.top_logprobs


def _add_format(request: generation_pb2.GenerateRequest, body: dict[str, Any], options: UpstreamOptions) -> None:
    form = request.format.WhichOneof("form")
    if form == "json_object" and request.format.json_object:
        body["response_format"] = {"type": "json_object"}
    elif form == "json_schema":
        schema = _json("format.json_schema", request.format.json_schema)
        named = {"name": "answer", "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif form == "grammar":
        body["grammar"] = _extension("format.grammar", request.format.grammar, options)


def _add_tools(request: generation_pb2.GenerateRequest, body: dict[str, Any]) -> None:
    if not request.tools:
        return
    body["tools"] = []
    for index, tool in enumerate(request.tools):
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        if tool.parameters_json_schema:
            field = f"tools[{index}].parameters_json_schema"
            function["parameters"] = _json(field, tool.parameters_json_schema)
        body["tools"].append({"type": "function", "function": function})
    choice = request.tool_choice
    if choice.mode == generation_pb2.ToolChoice.MODE_NAMED:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    else:
        body["tool_choice"] = _TOOL_CHOICES[choice.mode]
    if request.HasField("parallel_tool_calls"):
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _json(field: str, text: str) -> orjson.Fragment:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        message = f"{field}: not JSON: {error}"
        raise ServiceError(Reason.INVALID_SCHEMA, message, violations=[FieldViolation(field, message)]) from None
    return orjson.Fragment(text)


def _extension(field: str, value: Any, options: UpstreamOptions) -> Any:
    if options.extensions:
        return value
    name = field.rpartition(".")[2]
    message = (
        f"unsupported parameter {name}: this model's provider does not accept it; leave it out (an operator whose "
        "provider accepts it sets extensions: true in the model's options)"
    )
    raise ServiceError(Reason.UNSUPPORTED_CAPABILITY, message, violations=[FieldViolation(field, message)])


def _shortest(value: float) -> float:
    # The contract's floats have 32 bits: 0.7 must not be sent as 0.699999988079071.
    return float(f"{value:.7g}") if isinstance(value, float) else value
