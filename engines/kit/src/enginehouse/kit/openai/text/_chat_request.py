"""Reading of a chat completion's JSON into a `GenerateRequest`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai._document import JsonDocument, parse
from enginehouse.kit.openai._fields import Fields, shown, unsupported
from enginehouse.kit.openai.text import _sampling
from enginehouse.kit.openai.text._chat_messages import read_messages

_TOOL_MODES = {
    "auto": generation_pb2.ToolChoice.MODE_UNSPECIFIED,
    "none": generation_pb2.ToolChoice.MODE_NONE,
    "required": generation_pb2.ToolChoice.MODE_REQUIRED,
}
_READ = _sampling.SHARED | {
    "messages", "logprobs", "top_logprobs", "max_completion_tokens", "parallel_tool_calls", "response_format",
    "tool_choice", "tools",
}  # fmt: skip
# OpenAI's parameters that tune its own service; ignoring them changes no answer's meaning.
_HARMLESS = frozenset(
    {"metadata", "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
     "reasoning_effort", "safety_identifier", "service_tier", "store", "verbosity"}
)  # fmt: skip
_UNSUPPORTED = {
    "audio": "audio output is not available here; ask for text",
    "functions": "it is deprecated; use 'tools'",
    "function_call": "it is deprecated; use 'tool_choice'",
    "moderation": "there is no moderation here",
    "web_search_options": "there is no web search here",
}
_KNOWN = _READ | _HARMLESS | _UNSUPPORTED.keys() | {"modalities"}
_LOGPROBS = frozenset({"logprobs", "top_logprobs"})
_TOOLS = frozenset({"tools", "tool_choice", "parallel_tool_calls"})
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_TOOLS = 128


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request for a chat completion."""

    generate: generation_pb2.GenerateRequest
    """The request to the engine."""
    stream: bool
    """True to answer with server-sent events."""
    include_usage: bool
    """True to end the stream with an event that carries the usage."""
    user: str
    """The end user that the request names, or empty."""


def read_chat(body: bytes) -> ChatRequest:
    """Read the body of POST /v1/chat/completions; raise ServiceError naming the parameter at fault."""
    document = parse(body)
    fields = Fields(document.value)
    fields.refuse_unknown(_KNOWN)
    if fields.any_of(_UNSUPPORTED.keys()):
        for name, why in _UNSUPPORTED.items():
            if fields.raw(name):
                raise unsupported(name, f"'{name}' is not supported: {why}.")
    if "modalities" in fields and any(modality != "text" for modality in fields.items("modalities", most=8)):
        raise unsupported("modalities", "Unsupported modality: only 'text' is available here.")
    request = _sampling.begin(fields)
    if "max_tokens" in fields and "max_completion_tokens" in fields:
        raise fields.invalid("max_tokens", "it cannot be given together with 'max_completion_tokens'; keep that one")
    bound = "max_tokens" if "max_tokens" in fields else "max_completion_tokens"
    request.max_output_tokens = _sampling.output_bound(fields, bound) or 0
    request.messages.extend(read_messages(fields))
    # What few requests have costs the others one look.
    if fields.any_of(_LOGPROBS):
        _read_logprobs(fields, request)
    _read_format(fields, document, request)
    if fields.any_of(_TOOLS):
        _read_tools(fields, document, request)
    stream, include_usage = _sampling.wants_stream(fields)
    return ChatRequest(request, stream, include_usage, fields.text("user") or "")


def _read_logprobs(fields: Fields, request: generation_pb2.GenerateRequest) -> None:
    request.logprobs = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, 20)
    if top and not request.logprobs:
        raise fields.invalid("top_logprobs", "it is only allowed when 'logprobs' is true")
    request.top_logprobs = top or 0


def _read_format(fields: Fields, document: JsonDocument, request: generation_pb2.GenerateRequest) -> None:
    form = fields.nested("response_format")
    if form is None:
        return
    form.refuse_unknown({"type", "json_schema"})
    if "type" not in form:
        raise form.missing("type")
    kind = form.one_of("type", ("text", "json_object", "json_schema"))
    if kind != "text" and request.format.grammar:
        raise fields.invalid("grammar", f"it cannot be given together with a 'response_format' of '{kind}'")
    if kind == "json_object":
        request.format.json_object = True
    if kind != "json_schema":
        return
    schema = form.required_nested("json_schema")
    schema.refuse_unknown({"name", "description", "schema", "strict"})
    name = schema.required_text("name")
    if not _NAME.fullmatch(name):
        raise schema.invalid("name", f"{shown(name)} must be 1-64 characters of [a-zA-Z0-9_-]")
    schema.text("description")
    schema.flag("strict")
    schema.required_nested("schema")
    at = document.members(document.start)["response_format"][0]
    at = document.members(at)["json_schema"][0]
    start, end = document.members(at)["schema"]
    request.format.json_schema = document.text[start:end]


def _read_tools(fields: Fields, document: JsonDocument, request: generation_pb2.GenerateRequest) -> None:
    tools = list(fields.objects("tools", most=_MAX_TOOLS))
    if tools:
        spans = document.elements(document.members(document.start)["tools"][0])
        request.tools.extend(_tool(tool, document, at) for tool, (at, _) in zip(tools, spans, strict=True))
    names = [tool.name for tool in request.tools]
    if len(set(names)) != len(names):
        raise fields.invalid("tools", "two tools have the same name")
    _read_tool_choice(fields, request, names)
    if "parallel_tool_calls" in fields:
        request.parallel_tool_calls = fields.flag("parallel_tool_calls")


def _tool(fields: Fields, document: JsonDocument, at: int) -> generation_pb2.Tool:
    fields.refuse_unknown({"type", "function", "custom"})
    if "type" not in fields:
        raise fields.missing("type")
    if fields.one_of("type", ("function", "custom")) == "custom":
        raise unsupported(fields.param("type"), "Tools of type 'custom' are not supported; only 'function' is.")
    function = fields.required_nested("function")
    function.refuse_unknown({"name", "description", "parameters", "strict"})
    function.flag("strict")
    name = function.required_text("name")
    if not _NAME.fullmatch(name):
        raise function.invalid("name", f"{shown(name)} must be 1-64 characters of [a-zA-Z0-9_-]")
    tool = generation_pb2.Tool(name=name, description=function.text("description") or "")
    if function.nested("parameters") is not None:
        start, end = document.members(document.members(at)["function"][0])["parameters"]
        tool.parameters_json_schema = document.text[start:end]
    return tool


def _read_tool_choice(fields: Fields, request: generation_pb2.GenerateRequest, names: list[str]) -> None:
    choice = fields.raw("tool_choice")
    if choice is None:
        return
    if isinstance(choice, str):
        if choice not in _TOOL_MODES:
            expected = ", ".join(map(repr, _TOOL_MODES))
            raise fields.invalid("tool_choice", f"{shown(choice)} is none of {expected} and no object")
        if choice == "required" and not names:
            raise fields.invalid("tool_choice", "'required' is only allowed when 'tools' are specified")
        request.tool_choice.mode = _TOOL_MODES[choice]
        return
    named = fields.required_nested("tool_choice")
    if "type" not in named:
        raise named.missing("type")
    if named.text("type") != "function":
        kind = shown(named.raw("type"))
        raise unsupported(named.param("type"), f"A tool choice of type {kind} is not supported; only 'function' is.")
    function = named.required_nested("function")
    name = function.required_text("name")
    if name not in names:
        raise function.invalid("name", f"{shown(name)} is none of the 'tools'")
    request.tool_choice.mode = generation_pb2.ToolChoice.MODE_NAMED
    request.tool_choice.name = name
