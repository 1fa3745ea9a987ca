"""Tool calls for models whose runtime or chat template cannot do them alone.

A required call is made by grammar: the model can write nothing but the call. An optional call, for a template without
tools, is described in the system message and found in the text by its tags.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message, Tool, ToolCallDelta, ToolChoice
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece
from enginehouse.engines.inference.generation.tagged_calls import CLOSE, OPEN, TaggedCallReader, new_call_id
from enginehouse.engines.inference.grammar import Grammar, check_grammar, literal
from enginehouse.engines.inference.grammar.schemas import invalid_schema, parse_object_schema


def forced_tools(request: GenerateRequest) -> list[Tool]:
    """Return the tools of which one must be called; empty if none must."""
    if request.tool_choice.mode == ToolChoice.MODE_REQUIRED:
        return list(request.tools)
    if request.tool_choice.mode == ToolChoice.MODE_NAMED:
        return [tool for tool in request.tools if tool.name == request.tool_choice.name]
    return []


def call_grammar(request: GenerateRequest, tools: Sequence[Tool]) -> str:
    """Return the grammar of one call: only its arguments if there is one tool, else an object with its name.

    Raises:
        ServiceError: INVALID_SCHEMA, naming the tool's field.
    """
    grammar = Grammar()
    if len(tools) == 1:
        alternatives = [_arguments(request, tools[0], grammar)]
    else:
        alternatives = [
            f"{literal(_head(tool.name))} {_arguments(request, tool, grammar)} {literal('}')}" for tool in tools
        ]
    text = grammar.text(" | ".join(alternatives))
    check_grammar(text, field="tools")
    return text


def call_or_form_grammar(request: GenerateRequest, schema: dict[str, Any], *, field: str) -> str:
    """Return the grammar of an answer that is either JSON of a schema or calls between tags.

    Args:
        request: has the tools.
        schema: of the JSON.
        field: the request's field that it came in, for errors.

    Raises:
        ServiceError: INVALID_SCHEMA, naming the field.
    """
    grammar = Grammar()
    form = grammar.expression(schema, field=field)
    blank = grammar.primitive("ws")
    calls = [
        f'"{{\\"name\\":" {blank} {literal(json.dumps(tool.name))} "," {blank} "\\"arguments\\":" {blank} '
        f'{_arguments(request, tool, grammar)} "}}"'
        for tool in request.tools
    ]
    call = grammar.rule(f'"{OPEN}" "\\n"? ({" | ".join(calls)}) "\\n"? "{CLOSE}"')
    more = "" if request.HasField("parallel_tool_calls") and not request.parallel_tool_calls else f' ("\\n"? {call})*'
    text = grammar.text(f"{form} | {call}{more}")
    check_grammar(text, field="tools")
    return text


def _arguments(request: GenerateRequest, tool: Tool, grammar: Grammar) -> str:
    index = next(index for index, known in enumerate(request.tools) if known.name == tool.name)
    path = f"tools[{index}].parameters_json_schema"
    schema = parse_object_schema(tool.parameters_json_schema or '{"type":"object","properties":{}}', field=path)
    if schema.setdefault("type", "object") != "object":
        raise invalid_schema(path, f"invalid type {schema['type']!r}: a tool's arguments are an object")
    return grammar.expression(schema, field=path)


def _head(name: str) -> str:
    return f'{{"name":{json.dumps(name)},"arguments":'


def instructed(messages: Sequence[Message], tools: Sequence[Tool], *, forced: bool) -> list[Message]:
    """Return the conversation with the tools described in its system message, for a template without tools."""
    listed = "\n".join(
        f"{tool.name}{': ' if tool.description else ''}{tool.description} {tool.parameters_json_schema}".strip()
        for tool in tools
    )
    if forced:
        how = "Answer with the arguments of a call, as JSON."
    else:
        how = f'To call one, answer only: {OPEN}{{"name": "...", "arguments": {{...}}}}{CLOSE}'
    text = f"Tools:\n{listed}\n{how}"
    if messages and messages[0].role == generation_pb2.ROLE_SYSTEM:
        first = Message(role=generation_pb2.ROLE_SYSTEM, content=f"{messages[0].content}\n\n{text}")
        return [first, *messages[1:]]
    return [Message(role=generation_pb2.ROLE_SYSTEM, content=text), *messages]


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """Return the conversation with tool calls and results as plain text, for a template without tools."""
    plain = []
    for message in messages:
        if message.tool_calls:
            calls = [f"{OPEN}{_head(call.name)}{call.arguments or '{}'}}}{CLOSE}" for call in message.tool_calls]
            content = "\n".join([message.content, *calls] if message.content else calls)
            plain.append(Message(role=message.role, content=content))
        elif message.role == generation_pb2.ROLE_TOOL:
            content = f"<tool_response>{message.content}</tool_response>"
            plain.append(Message(role=generation_pb2.ROLE_USER, content=content))
        else:
            plain.append(message)
    return plain


class ToolReader(Protocol):
    """A reader of tool calls in the text of one choice."""

    def read(self, piece: OutputPiece) -> OutputPiece:
        """Return the piece with the text of tool calls moved into its `tool_calls`."""


@dataclass(slots=True)
class ForcedCallReader:
    """A reader of output that a `call_grammar` bounds."""

    names: Sequence[str]
    """The tools that it may name; for a single one, the text is only its arguments."""
    _begun: bool = False
    _held: str = ""
    _depth: int = 0
    _quoted: bool = False
    _escaped: bool = False
    _complete: bool = False

    def read(self, piece: OutputPiece) -> OutputPiece:
        """Return the piece as a tool call; all its text belongs to the call."""
        deltas = []
        text = self._held + piece.text
        self._held = ""
        if not self._begun:
            head = [""] if len(self.names) == 1 else [_head(name) for name in self.names]
            for name, start in zip(self.names, head, strict=True):
                if text.startswith(start) and (text or piece.finish):
                    self._begun = True
                    text = text[len(start) :]
                    deltas.append(ToolCallDelta(index=0, id=new_call_id(), name=name))
                    break
            else:
                self._held, text = text, ""
        arguments = self._arguments(text)
        if deltas:
            deltas[0].arguments = arguments
        elif arguments:
            deltas.append(ToolCallDelta(index=0, arguments=arguments))
        finish = FinishReason.TOOL_CALLS if piece.finish is FinishReason.STOP and self._complete else piece.finish
        return replace(piece, text="", tool_calls=deltas, finish=finish)

    def _arguments(self, text: str) -> str:
        """Return the part of the text up to the end of the arguments object."""
        for position, character in enumerate(text):
            if self._complete:
                return text[:position]
            if self._quoted:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._quoted = False
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self._complete = self._depth == 0
        return text


@dataclass(slots=True)
class CallOrFormReader:
    """A reader of output that a `call_or_form_grammar` bounds: JSON as it is, or calls between tags."""

    calls: TaggedCallReader
    is_form: bool | None = None
    """Whether the answer is JSON; None until it has begun."""

    def read(self, piece: OutputPiece) -> OutputPiece:
        """Return the piece as it is if the answer is JSON, which may speak of tags, else with its calls read."""
        if self.is_form is None and piece.text:
            self.is_form = not piece.text.startswith("<")
        return piece if self.is_form else self.calls.read(piece)
