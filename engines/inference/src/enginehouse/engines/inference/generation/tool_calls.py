"""Tool calls for models whose runtime or chat template cannot do them alone.

A call that must happen is made by grammar: the model can write nothing but the call. A call that may happen, for a
template that knows of no tools, is asked for in the system message and found in the text by its tags.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, Message, Tool, ToolCallDelta, ToolChoice
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece
from enginehouse.engines.inference.generation.stops import overlap
from enginehouse.engines.inference.grammar import Grammar, check_grammar, literal
from enginehouse.engines.inference.grammar.schemas import invalid_schema, parse_object_schema

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


def forced_tools(request: GenerateRequest) -> list[Tool]:
    """The tools one of which must be called; empty where the model is free."""
    if request.tool_choice.mode == ToolChoice.MODE_REQUIRED:
        return list(request.tools)
    if request.tool_choice.mode == ToolChoice.MODE_NAMED:
        return [tool for tool in request.tools if tool.name == request.tool_choice.name]
    return []


def call_grammar(request: GenerateRequest, tools: Sequence[Tool]) -> str:
    """The grammar of one call: the arguments alone where only one tool can be meant, else an object with its name.

    Raises INVALID_SCHEMA, naming the tool's field.
    """
    grammar = Grammar()
    positions = {tool.name: index for index, tool in enumerate(request.tools)}
    alternatives = []
    for tool in tools:
        path = f"tools[{positions[tool.name]}].parameters_json_schema"
        schema = parse_object_schema(tool.parameters_json_schema or '{"type":"object","properties":{}}', field=path)
        if schema.setdefault("type", "object") != "object":
            raise invalid_schema(path, f"a tool's arguments are an object, not of type {schema['type']!r}")
        arguments = grammar.expression(schema, field=path)
        if len(tools) == 1:
            alternatives = [arguments]
            break
        alternatives.append(f"{literal(_head(tool.name))} {arguments} {literal('}')}")
    text = grammar.text(" | ".join(alternatives))
    check_grammar(text, field="tools")
    return text


def _head(name: str) -> str:
    return f'{{"name":{json.dumps(name)},"arguments":'


def instructed(messages: Sequence[Message], tools: Sequence[Tool], *, forced: bool) -> list[Message]:
    """The conversation with the tools described in its system message, for a template that knows of none."""
    listed = "\n".join(
        f"{tool.name}{': ' if tool.description else ''}{tool.description} {tool.parameters_json_schema}".strip()
        for tool in tools
    )
    if forced:
        how = "Answer with the arguments of a call, as JSON."
    else:
        how = f'To call one, answer only: {_OPEN}{{"name": "...", "arguments": {{...}}}}{_CLOSE}'
    text = f"Tools:\n{listed}\n{how}"
    if messages and messages[0].role == generation_pb2.ROLE_SYSTEM:
        first = Message(role=generation_pb2.ROLE_SYSTEM, content=f"{messages[0].content}\n\n{text}")
        return [first, *messages[1:]]
    return [Message(role=generation_pb2.ROLE_SYSTEM, content=text), *messages]


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """The conversation with tool calls and results as plain text, for a template that knows of none."""
    plain = []
    for message in messages:
        if message.tool_calls:
            calls = [f"{_OPEN}{_head(call.name)}{call.arguments or '{}'}}}{_CLOSE}" for call in message.tool_calls]
            content = "\n".join([message.content, *calls] if message.content else calls)
            plain.append(Message(role=message.role, content=content))
        elif message.role == generation_pb2.ROLE_TOOL:
            content = f"<tool_response>{message.content}</tool_response>"
            plain.append(Message(role=generation_pb2.ROLE_USER, content=content))
        else:
            plain.append(message)
    return plain


class ToolReader(Protocol):
    """Finds tool calls in the text of one choice."""

    def read(self, piece: OutputPiece) -> OutputPiece:
        """The piece with what belongs to tool calls moved there."""


def _new_id() -> str:
    return f"call_{secrets.token_hex(12)}"


@dataclass(slots=True)
class ForcedCallReader:
    """Reads output that a `call_grammar` bounds."""

    names: Sequence[str]
    """The tools that it may name; for a single one the text is its arguments alone."""
    _begun: bool = False
    _held: str = ""
    _depth: int = 0
    _quoted: bool = False
    _escaped: bool = False
    _complete: bool = False

    def read(self, piece: OutputPiece) -> OutputPiece:
        """All text is the call's."""
        deltas = []
        text = self._held + piece.text
        self._held = ""
        if not self._begun:
            head = [""] if len(self.names) == 1 else [_head(name) for name in self.names]
            for name, start in zip(self.names, head, strict=True):
                if text.startswith(start) and (text or piece.finish):
                    self._begun = True
                    text = text[len(start) :]
                    deltas.append(ToolCallDelta(index=0, id=_new_id(), name=name))
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
        """The part of the text up to the end of the arguments object."""
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
class TaggedCallReader:
    """Finds calls between tags in free text. What turns out to be no call is given back as text."""

    names: frozenset[str]
    """The tools there are; a call of another is text."""
    most: int | None = None
    """How many calls are taken; None for any number."""
    _held: str = ""
    _calls: int = 0

    def read(self, piece: OutputPiece) -> OutputPiece:
        """Text that may be part of a call is held back until that is settled."""
        text = self._held + piece.text
        out: list[str] = []
        deltas: list[ToolCallDelta] = []
        while True:
            start = text.find(_OPEN)
            if start < 0:
                keep = 0 if piece.finish else overlap(text, _OPEN)
                out.append(text[: len(text) - keep])
                self._held = text[len(text) - keep :]
                break
            end = text.find(_CLOSE, start)
            if end < 0 and piece.finish is None:
                out.append(text[:start])
                self._held = text[start:]
                break
            inner = text[start + len(_OPEN) : end if end >= 0 else len(text)]
            rest = text[end + len(_CLOSE) :] if end >= 0 else ""
            call = self._call(inner)
            if call is None:
                out.append(text[: len(text) - len(rest)])
            else:
                out.append(text[:start])
                deltas.append(call)
            text = rest
        finish = FinishReason.TOOL_CALLS if piece.finish is FinishReason.STOP and self._calls else piece.finish
        content = "".join(out)
        return replace(piece, text=content if not self._calls else content.strip(), tool_calls=deltas, finish=finish)

    def _call(self, text: str) -> ToolCallDelta | None:
        try:
            call = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(call, dict) or call.get("name") not in self.names:
            return None
        arguments = call.get("arguments", {})
        if not isinstance(arguments, dict) or (self.most is not None and self._calls >= self.most):
            return None
        self._calls += 1
        return ToolCallDelta(
            index=self._calls - 1,
            id=_new_id(),
            name=call["name"],
            arguments=json.dumps(arguments, ensure_ascii=False),
        )
