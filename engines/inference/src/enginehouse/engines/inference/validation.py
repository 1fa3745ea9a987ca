"""Checks of requests to the text engine against the ranges that the contract states, for any model."""

from __future__ import annotations

import re

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import (
    EmbedRequest,
    GenerateRequest,
    ListModelsRequest,
    Message,
    Sampling,
    TokenizeRequest,
    ToolChoice,
)
from enginehouse.engines.inference.grammar import check_grammar
from enginehouse.engines.inference.grammar.schemas import parse_object_schema
from enginehouse.kit.validation import Checks, shorten

MAX_STOPS = 16
MAX_STOP_BYTES = 256
MAX_TOOLS = 128
MAX_CHOICES = 128
MAX_TOP_LOGPROBS = 20
MAX_INPUTS = 2048
MAX_TOKENIZE_BYTES = 2**20
MAX_GRAMMAR_BYTES = 64 * 1024
MAX_PAGE = 1000
MAX_RESUMED_TOKENS = 2**20
MAX_PROMPT_TOKENS = 2**20
MAX_BIASES = 1024
MAX_BIAS = 100
MAX_RECEIPT_BYTES = 128

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ROLES = frozenset(generation_pb2.Role.values()) - {generation_pb2.ROLE_UNSPECIFIED}
_MODES = frozenset(ToolChoice.Mode.values())


def calls_tools(request: GenerateRequest) -> bool:
    """Return whether the model may or must call a tool."""
    return bool(request.tools) and request.tool_choice.mode != ToolChoice.MODE_NONE


def check_generate(request: GenerateRequest) -> None:
    """Raise INVALID_REQUEST naming every field out of range, or INVALID_SCHEMA for a schema that is no JSON object."""
    checks = Checks()
    checks.request_id("request_id", request.request_id)
    messages, token_ids = request.messages, request.prompt_token_ids
    if bool(messages) + bool(request.prompt) + bool(token_ids) != 1:
        checks.violate("messages", "exactly one of messages, prompt and prompt_token_ids must be set")
    if token_ids:
        checks.size("prompt_token_ids", token_ids, 0, MAX_PROMPT_TOKENS)
        negative = min(token_ids)
        checks.require(negative >= 0, "prompt_token_ids", f"{negative} is not a token id")
    for index, message in enumerate(messages):
        _check_message(checks, index, message)
    if request.HasField("sampling"):
        _check_sampling(checks, request.sampling)
    if request.max_output_tokens < 0:
        checks.violate("max_output_tokens", f"{request.max_output_tokens} is negative")
    if stops := request.stop:
        checks.size("stop", stops, 0, MAX_STOPS)
        for index, stop in enumerate(stops):
            checks.size(f"stop[{index}]", stop.encode(), 1, MAX_STOP_BYTES, of="bytes")
    checks.in_range("choices", request.choices, 0, MAX_CHOICES)
    if checks.in_range("top_logprobs", request.top_logprobs, 0, MAX_TOP_LOGPROBS):
        checks.require(request.logprobs or not request.top_logprobs, "top_logprobs", "needs logprobs to be true")
    checks.require(not (messages and request.echo), "echo", "is for prompt requests only")
    if request.prompt_only:
        checks.require(not messages, "prompt_only", "is for prompt requests only")
        checks.require(not request.max_output_tokens, "max_output_tokens", "must be 0 where prompt_only is set")
        checks.require(
            not request.HasField("resume"), "resume", "there is no answer to resume where prompt_only is set"
        )
    if request.HasField("resume"):
        _check_resume(checks, request)
    if request.tools or request.HasField("tool_choice"):
        _check_tools(checks, request)
    form = request.format.WhichOneof("form") if request.HasField("format") else None
    if form == "json_object":
        checks.require(request.format.json_object, "format.json_object", "must be true, or left out for free text")
    elif form == "grammar":
        checks.size("format.grammar", request.format.grammar.encode(), 1, MAX_GRAMMAR_BYTES, of="bytes")
    checks.done()
    if form == "grammar":
        check_grammar(request.format.grammar, field="format.grammar")
    if form == "json_schema":
        parse_object_schema(request.format.json_schema, field="format.json_schema")
    for index, tool in enumerate(request.tools):
        if tool.parameters_json_schema:
            parse_object_schema(tool.parameters_json_schema, field=f"tools[{index}].parameters_json_schema")


def _check_message(checks: Checks, index: int, message: Message) -> None:
    role, calls = message.role, message.tool_calls
    if role in _ROLES and not calls and role != generation_pb2.ROLE_TOOL:
        return
    field = f"messages[{index}]"
    assistant = role == generation_pb2.ROLE_ASSISTANT
    checks.require(role in _ROLES, f"{field}.role", f"unknown role {role}; set system, user, assistant or tool")
    checks.require(assistant or not calls, f"{field}.tool_calls", "are for assistant messages only")
    for position, call in enumerate(calls):
        checks.require(bool(call.name), f"{field}.tool_calls[{position}].name", "must not be empty")
    if role == generation_pb2.ROLE_TOOL:
        checks.require(
            bool(message.tool_call_id), f"{field}.tool_call_id", "must name the tool call that this message answers"
        )


def _check_sampling(checks: Checks, sampling: Sampling) -> None:
    # An unset field reads as 0, which is out of range where 0 is not allowed.
    if sampling.HasField("temperature"):
        checks.in_range("sampling.temperature", sampling.temperature, 0, 2)
    if sampling.HasField("top_p"):
        checks.in_range("sampling.top_p", sampling.top_p, 0, 1)
    if sampling.HasField("top_k"):
        checks.require(sampling.top_k >= 0, "sampling.top_k", f"{sampling.top_k} is negative; 0 keeps all")
    if sampling.HasField("min_p"):
        checks.in_range("sampling.min_p", sampling.min_p, 0, 1)
    if sampling.HasField("frequency_penalty"):
        checks.in_range("sampling.frequency_penalty", sampling.frequency_penalty, -2, 2)
    if sampling.HasField("presence_penalty"):
        checks.in_range("sampling.presence_penalty", sampling.presence_penalty, -2, 2)
    if sampling.HasField("repeat_penalty"):
        checks.in_range("sampling.repeat_penalty", sampling.repeat_penalty, 0, 2, above_low=True)
    _check_logit_bias(checks, sampling)


def _check_logit_bias(checks: Checks, sampling: Sampling) -> None:
    checks.size("sampling.logit_bias", sampling.logit_bias, 0, MAX_BIASES)
    for index, change in enumerate(sampling.logit_bias):
        field = f"sampling.logit_bias[{index}]"
        checks.require(change.token_id >= 0, f"{field}.token_id", f"{change.token_id} is not a token id")
        checks.in_range(f"{field}.bias", change.bias, -MAX_BIAS, MAX_BIAS)


def _check_resume(checks: Checks, request: GenerateRequest) -> None:
    checks.require(request.resumable, "resumable", "must be true, as it was in the request that is resumed")
    checks.size("resume.token_ids", request.resume.token_ids, 1, MAX_RESUMED_TOKENS)
    checks.require(min(request.resume.token_ids, default=0) >= 0, "resume.token_ids", "must not be negative")
    checks.size("resume.receipt", request.resume.receipt, 1, MAX_RECEIPT_BYTES, of="bytes")


def _check_tools(checks: Checks, request: GenerateRequest) -> None:
    checks.size("tools", request.tools, 0, MAX_TOOLS)
    checks.require(not request.tools or bool(request.messages), "tools", "are for conversations (messages) only")
    names = set()
    for index, tool in enumerate(request.tools):
        field = f"tools[{index}].name"
        if checks.matches(field, tool.name, _TOOL_NAME, "1-64 characters of [A-Za-z0-9_-]") and tool.name in names:
            checks.violate(field, f"duplicate name {tool.name!r}")
        names.add(tool.name)
    choice = request.tool_choice
    if choice.mode not in _MODES:
        checks.violate("tool_choice.mode", f"unknown mode {choice.mode}")
    elif choice.mode == ToolChoice.MODE_NAMED:
        known = ", ".join(sorted(names)) or "none"
        checks.require(
            choice.name in names, "tool_choice.name", f"{shorten(choice.name)} is not one of the tools given ({known})"
        )
    else:
        checks.require(not choice.name, "tool_choice.name", "is for MODE_NAMED only")
        if choice.mode == ToolChoice.MODE_REQUIRED:
            checks.require(bool(request.tools), "tools", "must not be empty where a tool call is required")


def check_embed(request: EmbedRequest) -> None:
    """Raise INVALID_REQUEST naming every field out of range."""
    checks = Checks()
    checks.request_id("request_id", request.request_id)
    checks.size("inputs", request.inputs, 1, MAX_INPUTS)
    for index, text in enumerate(request.inputs):
        if not text:
            checks.violate(f"inputs[{index}]", "must not be empty")
    checks.require(request.dimensions >= 0, "dimensions", f"{request.dimensions} is negative; 0 keeps all")
    checks.done()


def check_tokenize(request: TokenizeRequest) -> None:
    """Raise INVALID_REQUEST naming every field out of range."""
    checks = Checks()
    checks.size("text", request.text.encode(), 0, MAX_TOKENIZE_BYTES, of="bytes")
    checks.done()


def check_list_models(request: ListModelsRequest) -> None:
    """Raise INVALID_REQUEST naming every field out of range."""
    checks = Checks()
    checks.in_range("page_size", request.page_size, 0, MAX_PAGE)
    checks.done()
