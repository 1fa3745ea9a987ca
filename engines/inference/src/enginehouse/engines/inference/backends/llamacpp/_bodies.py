"""Request bodies for llama.cpp's server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message, Tool
from enginehouse.engines.inference.backends.llamacpp._options import SamplingDefaults
from enginehouse.engines.inference.grammar.plain import plain_schema
from enginehouse.engines.inference.validation import calls_tools

ROLES = {
    generation_pb2.ROLE_SYSTEM: "system",
    generation_pb2.ROLE_USER: "user",
    generation_pb2.ROLE_ASSISTANT: "assistant",
    generation_pb2.ROLE_TOOL: "tool",
}


def message_body(message: Message) -> dict[str, Any]:
    """Return a message in OpenAI's form."""
    body: dict[str, Any] = {"role": ROLES[message.role], "content": message.content}
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    if message.name:
        body["name"] = message.name
    return body


def tool_bodies(request: GenerateRequest, tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return some of a request's tools in OpenAI's form; raise INVALID_SCHEMA for a reference that leads nowhere."""
    names = [tool.name for tool in tools]
    return [_tool_body(tool, index) for index, tool in enumerate(request.tools) if tool.name in names]


def _tool_body(tool: Tool, index: int) -> dict[str, Any]:
    field = f"tools[{index}].parameters_json_schema"
    schema = json.loads(tool.parameters_json_schema) if tool.parameters_json_schema else {"type": "object"}
    parameters = plain_schema(schema, field=field)
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
    }


def sampling_body(request: GenerateRequest, defaults: SamplingDefaults) -> dict[str, Any]:
    """Return how tokens are sampled and reported. The seed differs between choices; llama.cpp gets no stop texts.

    The model's penalties on repetition are for free text only: JSON has to repeat its braces and its keys.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
        # A chunk for every batch of the prompt: the first has the cached tokens, and a cancel takes effect at each.
        "return_progress": True,
        "cache_prompt": True,
        "repeat_last_n": defaults.repeat_last_n,
    }
    if request.format.WhichOneof("form") is None and not calls_tools(request):
        body |= defaults.repetition()
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repeat_penalty",
    ):
        if sampling.HasField(name):
            body[name] = getattr(sampling, name)
    if sampling.logit_bias:
        body["logit_bias"] = [[change.token_id, change.bias] for change in sampling.logit_bias]
    return body
