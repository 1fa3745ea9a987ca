"""Conversion of a `GenerateRequest` for vLLM's chat template and sampler, without importing vLLM."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

_ROLES = {
    generation_pb2.ROLE_SYSTEM: "system",
    generation_pb2.ROLE_USER: "user",
    generation_pb2.ROLE_ASSISTANT: "assistant",
    generation_pb2.ROLE_TOOL: "tool",
}
_Optional = Literal[
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repeat_penalty", "seed"
]
_SAMPLING: Mapping[_Optional, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repeat_penalty": "repetition_penalty",
    "seed": "seed",
}


def messages_of(messages: Iterable[generation_pb2.Message]) -> list[dict[str, Any]]:
    """Return the conversation as chat templates read it: a call's arguments as an object."""
    return [_message(message) for message in messages]


def tools_of(request: generation_pb2.GenerateRequest) -> list[dict[str, Any]] | None:
    """Return the tools as chat templates read them; None if none may be called."""
    if not request.tools or request.tool_choice.mode == generation_pb2.ToolChoice.MODE_NONE:
        return None
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": _parameters(index, tool)},
        }
        for index, tool in enumerate(request.tools)
    ]


def sampling_of(request: generation_pb2.GenerateRequest, *, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampler's parameters by vLLM's names: the request's over the model's own `defaults`."""
    sampling = dict(defaults)
    for ours, theirs in _SAMPLING.items():
        if request.sampling.HasField(ours):
            sampling[theirs] = getattr(request.sampling, ours)
    if sampling.get("top_p") == 0:
        # vLLM's smallest nucleus is the likeliest token alone, by another name.
        del sampling["top_p"]
        sampling["temperature"] = 0.0
    if request.sampling.logit_bias:
        sampling["logit_bias"] = {change.token_id: change.bias for change in request.sampling.logit_bias}
    sampling["n"] = request.choices or 1
    sampling["stop"] = list(request.stop)
    if request.logprobs:
        sampling["logprobs"] = request.top_logprobs
    return sampling


def constraint_of(request: generation_pb2.GenerateRequest) -> dict[str, Any] | None:
    """Return the constraint on the output, by the names of vLLM's structured outputs; None for free text.

    A required tool call is a constraint too: a named tool's on its arguments, any tool's on a list of calls.

    Raises:
        ServiceError: UNSUPPORTED_CAPABILITY if a call is optional: which text is then a call depends on the model's
            training, and needs a parser made for it.
    """
    choice = request.tool_choice
    if request.tools and choice.mode == generation_pb2.ToolChoice.MODE_NAMED:
        index = next(index for index, tool in enumerate(request.tools) if tool.name == choice.name)
        return _schema(_parameters(index, request.tools[index]))
    if request.tools and choice.mode == generation_pb2.ToolChoice.MODE_REQUIRED:
        return _schema(_calls_schema(request))
    if request.tools and choice.mode != generation_pb2.ToolChoice.MODE_NONE:
        message = "vLLM models here support only required tool calls; set tool_choice to required or to a named tool"
        raise ServiceError(Reason.UNSUPPORTED_CAPABILITY, message, violations=[FieldViolation("tool_choice", message)])
    form = request.format.WhichOneof("form")
    if form == "json_schema":
        return _schema(_json("format.json_schema", request.format.json_schema))
    if form == "json_object" and request.format.json_object:
        return {"json_object": True}
    if form == "grammar":
        return {"grammar": request.format.grammar}
    return None


def _message(message: generation_pb2.Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": _ROLES[message.role], "content": message.content}
    if message.name:
        body["name"] = message.name
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.loads(call.arguments or "{}")},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    return body


def _parameters(index: int, tool: generation_pb2.Tool) -> Any:
    if not tool.parameters_json_schema:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return _json(f"tools[{index}].parameters_json_schema", tool.parameters_json_schema)


def _calls_schema(request: generation_pb2.GenerateRequest) -> dict[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": _parameters(index, tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for index, tool in enumerate(request.tools)
    ]
    schema: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"anyOf": calls}}
    if request.HasField("parallel_tool_calls") and not request.parallel_tool_calls:
        schema["maxItems"] = 1
    return schema


def _schema(schema: Any) -> dict[str, Any]:
    return {"json": json.dumps(schema, ensure_ascii=False)}


def _json(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"{field}: not JSON: {error}"
        raise ServiceError(Reason.INVALID_SCHEMA, message, violations=[FieldViolation(field, message)]) from None
