"""The messages and options of a generation, and the request made of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client._connection import Metadata

RoleName = Literal["system", "user", "assistant", "tool"]

_ROLES: Mapping[str, generation_pb2.Role.ValueType] = {
    "system": generation_pb2.ROLE_SYSTEM,
    "user": generation_pb2.ROLE_USER,
    "assistant": generation_pb2.ROLE_ASSISTANT,
    "tool": generation_pb2.ROLE_TOOL,
}
_MODES: Mapping[str, generation_pb2.ToolChoice.Mode.ValueType] = {
    "auto": generation_pb2.ToolChoice.MODE_UNSPECIFIED,
    "none": generation_pb2.ToolChoice.MODE_NONE,
    "required": generation_pb2.ToolChoice.MODE_REQUIRED,
}


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that the model asks for.

    Attributes:
        id: the call's id; the tool's result is sent with it, as `Message.tool_call_id`.
        name: the tool's name.
        arguments: a JSON object as text, as the model wrote it.
    """

    id: str
    name: str
    arguments: str


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: the role of the author.
        content: the text.
        tool_calls: the tool calls of an assistant message.
        tool_call_id: the id of the call that a tool message answers.
        name: the author's name, if several authors share a role.
    """

    role: RoleName
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call.

    Attributes:
        name: 1-64 characters of [a-zA-Z0-9_-].
        description: the tool's purpose, for the model.
        parameters: the JSON schema of the arguments; None for no arguments.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None


class GenerationOptions(TypedDict, total=False):
    """The keyword arguments of `generate` and `stream`, all optional.

    prompt: a text to continue without a chat template, instead of messages.
    system: instructions, put before the conversation.
    model: a name, or "auto" (the default) for the cheapest that is good enough.
    max_output_tokens: the limit for each choice; the default is the model's own.
    temperature, top_p, top_k, min_p, frequency_penalty, presence_penalty, repeat_penalty, seed: the sampling of tokens;
        the defaults are the model's own.
    stop: texts that end the output, at most 16.
    json_schema, json_object, grammar: the format of the output; at most one of them.
    tools: the tools that the model may call.
    tool_choice: "auto" (the default), "none", "required" or a tool's name.
    parallel_tool_calls: False allows one call at most.
    choices: the number of independent answers, 1 to 128.
    logprobs, top_logprobs: send the log probability of each token, and so many alternatives.
    task: "generate" (the default), "enhance" or "analyse"; a policy may route by it.
    subject: the subject of the request, in the policy's words; a policy may route by it.
    language: the language to write, as a BCP 47 tag, for "auto"; detected in the prompt if left out.
    """

    prompt: str
    system: str
    model: str
    max_output_tokens: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    frequency_penalty: float
    presence_penalty: float
    repeat_penalty: float
    seed: int
    stop: Sequence[str]
    json_schema: Mapping[str, Any]
    json_object: bool
    grammar: str
    tools: Sequence[Tool]
    tool_choice: str
    parallel_tool_calls: bool
    choices: int
    logprobs: bool
    top_logprobs: int
    task: str
    subject: str
    language: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One generation as the caller asks for it: a conversation, or `GenerationOptions.prompt`, and the options."""

    messages: str | Sequence[Message] | None = None
    prompt: str | None = None
    system: str | None = None
    model: str = "auto"
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    json_schema: Mapping[str, Any] | None = None
    json_object: bool = False
    grammar: str | None = None
    tools: Sequence[Tool] = ()
    tool_choice: str | None = None
    parallel_tool_calls: bool | None = None
    choices: int = 1
    logprobs: bool = False
    top_logprobs: int = 0
    task: str = ""
    subject: str = ""
    language: str = ""

    def routing_metadata(self) -> Metadata:
        """Return the headers for the task, the subject and the language."""
        headers = (
            ("x-enginehouse-task", self.task),
            ("x-enginehouse-subject", self.subject),
            ("x-enginehouse-language", self.language),
        )
        return tuple((name, value) for name, value in headers if value)

    def message(self, request_id: str) -> generation_pb2.GenerateRequest:
        """Return the contract's message.

        Raises:
            ValueError: there is neither a conversation nor a prompt, or both; or a value does not fit its field.
        """
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("give exactly one of messages (a conversation) and prompt (a text to continue)")
        if self.prompt is not None and self.system is not None:
            raise ValueError("system cannot be combined with prompt: write the instructions into the prompt")
        if sum((self.json_schema is not None, self.json_object, self.grammar is not None)) > 1:
            raise ValueError("give at most one of json_schema, json_object and grammar")
        request = generation_pb2.GenerateRequest(
            request_id=request_id,
            model=self.model,
            prompt=self.prompt or "",
            max_output_tokens=self.max_output_tokens or 0,
            stop=self.stop,
            choices=self.choices,
            logprobs=self.logprobs,
            top_logprobs=self.top_logprobs,
        )
        if self.system is not None:
            request.messages.add(role=generation_pb2.ROLE_SYSTEM, content=self.system)
        for message in _conversation(self.messages):
            request.messages.append(_message(message))
        for name in _SAMPLING:
            value = getattr(self, name)
            if value is not None:
                setattr(request.sampling, name, value)
        if self.json_schema is not None:
            request.format.json_schema = json.dumps(self.json_schema)
        elif self.grammar is not None:
            request.format.grammar = self.grammar
        elif self.json_object:
            request.format.json_object = True
        for tool in self.tools:
            schema = "" if tool.parameters is None else json.dumps(tool.parameters)
            request.tools.add(name=tool.name, description=tool.description, parameters_json_schema=schema)
        if self.tool_choice is not None:
            mode = _MODES.get(self.tool_choice)
            if mode is not None:
                request.tool_choice.mode = mode
            else:
                request.tool_choice.mode = generation_pb2.ToolChoice.MODE_NAMED
                request.tool_choice.name = self.tool_choice
        if self.parallel_tool_calls is not None:
            request.parallel_tool_calls = self.parallel_tool_calls
        return request


_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repeat_penalty",
    "seed",
)


def _conversation(messages: str | Sequence[Message] | None) -> Sequence[Message]:
    if messages is None:
        return ()
    return (Message("user", messages),) if isinstance(messages, str) else messages


def _message(message: Message) -> generation_pb2.Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise ValueError(f"unknown role {message.role!r}: expected one of {', '.join(_ROLES)}")
    return generation_pb2.Message(
        role=role,
        content=message.content,
        tool_calls=[
            generation_pb2.ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in message.tool_calls
        ],
        tool_call_id=message.tool_call_id,
        name=message.name,
    )
