"""Reading of a conversation's messages, as clients keep them: what a provider answered is sent back as it came.

So an assistant's message may have every field that OpenAI and other providers put into their answers, and may be empty.
Of those fields the text, the refusal and the calls reach the model; reasoning does not, as models are trained.
"""

from __future__ import annotations

import json
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai._fields import Fields, shown, unsupported

_ROLES = {
    "system": generation_pb2.ROLE_SYSTEM,
    "developer": generation_pb2.ROLE_SYSTEM,
    "user": generation_pb2.ROLE_USER,
    "assistant": generation_pb2.ROLE_ASSISTANT,
    "tool": generation_pb2.ROLE_TOOL,
    "function": generation_pb2.ROLE_TOOL,
}
# Whose messages need nothing but a text.
_PLAIN_ROLES = frozenset({"system", "developer", "user", "assistant"})
_READ = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call"}
)  # fmt: skip
# What answers say about themselves: no instruction, and no text of the conversation.
_REMARKS = frozenset(
    {"annotations", "citations", "content_filter_results", "context", "executed_tools", "finish_reason", "id", "images",
     "index", "logprobs", "object", "parsed", "prefix", "provider_specific_fields", "reasoning", "reasoning_content",
     "reasoning_details", "search_results", "status", "stop_reason", "thinking", "thinking_blocks", "token_ids",
     "type", "usage"}
)  # fmt: skip
_OF_ANYONE = _READ | {"annotations", "cache_control", "reasoning_content"}
_OF_ASSISTANTS = _OF_ANYONE | _REMARKS
# The member that holds the text of a part of each type.
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_REASONING = ("thinking", "redacted_thinking", "reasoning")
_MAX_MESSAGES = 65_536
_MAX_CALLS = 128


def read_messages(fields: Fields) -> list[generation_pb2.Message]:
    """Return the messages under `messages`; raise ServiceError naming the parameter at fault."""
    if "messages" not in fields:
        raise fields.missing("messages")
    reader = _Reader()
    messages = [reader.read(message) for message in fields.objects("messages", most=_MAX_MESSAGES)]
    if not messages:
        raise fields.invalid("messages", "it is empty; at least one message is needed")
    return messages


class _Reader:
    """A reader of one conversation, which knows the calls whose ids their provider left out."""

    def __init__(self) -> None:
        self._unanswered: list[generation_pb2.ToolCall] = []
        self._calls = 0

    def read(self, fields: Fields) -> generation_pb2.Message:
        """Return the next message."""
        plain = _plain(fields)
        if plain is not None:
            return plain
        fields = fields.without_nulls()
        role = fields.required_text("role")
        if role not in _ROLES:
            names = ", ".join(repr(name) for name in _ROLES if name != "function")
            raise fields.invalid("role", f"{shown(role)} is none of {names}")
        assistant = role == "assistant"
        if assistant:
            # Providers add remarks of their own to their answers.
            fields.refuse_misspelt(_OF_ASSISTANTS)
        else:
            fields.refuse_unknown(_OF_ANYONE)
        message = generation_pb2.Message(role=_ROLES[role], name=fields.text("name") or "", content=_content(fields))
        if assistant:
            message.tool_calls.extend(self._read_calls(fields))
            said = [message.content, fields.text("refusal"), _transcript(fields)]
            message.content = "\n".join(filter(None, said))
        else:
            _refuse_calls(fields, role)
        if message.role == generation_pb2.ROLE_TOOL:
            message.tool_call_id = self._answered_id(fields, role)
        elif fields.raw("tool_call_id"):
            raise fields.invalid("tool_call_id", f"only tool messages answer a call, and this one's role is '{role}'")
        # A tool may have returned nothing, and an assistant may have said nothing.
        if "content" not in fields and message.role not in (generation_pb2.ROLE_ASSISTANT, generation_pb2.ROLE_TOOL):
            raise fields.missing("content")
        return message

    def _read_calls(self, fields: Fields) -> list[generation_pb2.ToolCall]:
        self._unanswered = []
        calls = [self._call(entry) for entry in fields.objects("tool_calls", most=_MAX_CALLS)]
        # The form before there were tools. Some providers give both, for the same call.
        deprecated = fields.nested("function_call")
        if deprecated is not None and not calls:
            calls.append(self._named(deprecated, ""))
        return calls

    def _call(self, fields: Fields) -> generation_pb2.ToolCall:
        if fields.raw("type"):
            fields.one_of("type", ("function",))
        return self._named(fields.required_nested("function"), fields.text("id") or "")

    def _named(self, function: Fields, call_id: str) -> generation_pb2.ToolCall:
        self._calls += 1
        call = generation_pb2.ToolCall(
            id=call_id or f"call_{self._calls}", name=function.required_text("name"), arguments=_arguments(function)
        )
        if not call_id:
            self._unanswered.append(call)
        return call

    def _answered_id(self, fields: Fields, role: str) -> str:
        if role == "tool" and fields.text("tool_call_id"):
            return fields.required_text("tool_call_id")
        # It answers a call without an id: the one of the function that it names, or the first without an answer.
        name = fields.text("name")
        for call in self._unanswered:
            if not name or name == call.name:
                self._unanswered.remove(call)
                return call.id
        if role == "tool":
            raise fields.missing("tool_call_id")
        raise unsupported(
            fields.param("role"),
            "The role 'function' is deprecated, and no 'function_call' before this message is without an answer; "
            "use 'tool' with a 'tool_call_id'.",
        )


def _plain(fields: Fields) -> generation_pb2.Message | None:
    """Return a message that is a role and a text, as most are; None for every other, which is to be read in full."""
    role, content = fields.raw("role"), fields.raw("content")
    if len(fields) == 2 and isinstance(content, str) and isinstance(role, str) and role in _PLAIN_ROLES:
        return generation_pb2.Message(role=_ROLES[role], content=content)
    return None


def _refuse_calls(fields: Fields, role: str) -> None:
    for name in ("tool_calls", "function_call", "refusal", "audio"):
        if fields.raw(name):
            raise fields.invalid(name, f"only assistant messages have it, and this one's role is '{role}'")


def _content(fields: Fields) -> str:
    content = fields.raw("content")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise fields.invalid("content", f"expected a string or an array of parts, but got {shown(content)} instead")
    texts = []
    for part in fields.objects("content", most=_MAX_MESSAGES):
        kind = part.required_text("type")
        if kind in _REASONING and fields.raw("role") == "assistant":
            continue
        member = _TEXTS.get(kind)
        if member is None:
            param = part.param("type")
            raise unsupported(param, f"Content parts of type {shown(kind)} are not supported; only 'text' is.")
        text = part.text(member)
        if text is None:
            raise part.missing(member)
        texts.append(text)
    # Parts are separate blocks of text: without a line break between them, words would run together.
    return "\n".join(texts)


def _arguments(function: Fields) -> str:
    """Return the arguments as the model wrote them, whether or not they are JSON: an answer may have been cut."""
    value = function.raw("arguments")
    # Some providers give the object itself.
    if isinstance(value, dict):
        return _compact(value)
    return function.text("arguments") or ""


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _transcript(fields: Fields) -> str:
    """Return what an assistant said aloud."""
    audio = fields.nested("audio")
    if audio is None:
        return ""
    transcript = audio.text("transcript")
    if transcript is None:
        raise unsupported(
            fields.param("audio"), f"'{fields.param('audio')}' is not supported without its 'transcript'; send that."
        )
    return transcript if "content" not in fields else ""
