"""Conversations in forms that a model's chat template can write out, whoever kept them and wherever they were cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import Message
from enginehouse.engines.inference.generation.tool_calls import without_tools
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

_SYSTEM, _USER = generation_pb2.ROLE_SYSTEM, generation_pb2.ROLE_USER


class TemplateRefusal(ServiceError):
    """The refusal of a conversation by a model's chat template, which is a program of the model's makers."""

    def __init__(self, why: str) -> None:
        message = f"invalid messages: the model's chat template refuses them: {why}"
        super().__init__(Reason.INVALID_REQUEST, message, violations=[FieldViolation("messages", message)])


def forms_of(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield the conversation, then forms of it with the same words, for templates that refuse the one before.

    Some templates allow one system message, at the beginning, or none; some want user and assistant to take turns; some
    want calls' ids of nine characters, and some one call a message.
    """
    plain = list(with_broken_calls_as_text(messages))
    yield plain
    readings = [plain]
    if any(message.tool_calls or message.role == generation_pb2.ROLE_TOOL for message in plain):
        readings = [_with_short_ids(plain), without_tools(plain)]
    for reading in readings:
        if reading != plain:
            yield reading
        merged = _with_one_system_message(reading)
        if merged != reading:
            yield merged
        if merged and merged[0].role == _SYSTEM:
            yield _without_system_message(merged)


def with_broken_calls_as_text(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the conversation with its tool calls as text where their arguments are no JSON object.

    An answer may have been cut within a call. Templates write arguments out as JSON and fail on anything else.
    """
    if all(_is_object(call.arguments) for message in messages for call in message.tool_calls):
        return messages
    plain: list[Message] = []
    spelt: set[str] = set()
    for message in messages:
        ids = {call.id for call in message.tool_calls}
        if not all(_is_object(call.arguments) for call in message.tool_calls):
            spelt |= ids
            plain += without_tools([message])
        elif message.role == generation_pb2.ROLE_TOOL and message.tool_call_id in spelt:
            plain += without_tools([message])
        else:
            # Ids may come again, in another turn.
            spelt -= ids
            plain.append(message)
    return plain


def _with_short_ids(messages: Sequence[Message]) -> list[Message]:
    """Return the conversation with its calls numbered in nine digits, as Mistral's templates want."""
    numbers: dict[str, str] = {}

    def number(call_id: str) -> str:
        return numbers.setdefault(call_id, f"{len(numbers) + 1:09}") if call_id else ""

    numbered = []
    for message in messages:
        if message.tool_calls or message.tool_call_id:
            copy = Message()
            copy.CopyFrom(message)
            copy.tool_call_id = number(message.tool_call_id)
            for call in copy.tool_calls:
                call.id = number(call.id)
            message = copy
        numbered.append(message)
    return numbered


def _is_object(arguments: str) -> bool:
    if not arguments:
        return True
    try:
        return isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return False


def _with_one_system_message(messages: Sequence[Message]) -> list[Message]:
    """Return the conversation with its instructions first, in one message, and neighbours of one role joined."""
    instructions = [message.content for message in messages if message.role == _SYSTEM and message.content]
    joined = [Message(role=_SYSTEM, content="\n\n".join(instructions))] if instructions else []
    for message in messages:
        if message.role == _SYSTEM:
            continue
        last = joined[-1] if joined else None
        if last is None or not _may_join(last, message):
            joined.append(message)
        else:
            content = "\n\n".join(filter(None, (last.content, message.content)))
            joined[-1] = Message(role=last.role, content=content, name=last.name, tool_calls=message.tool_calls)
    return joined


def _may_join(first: Message, second: Message) -> bool:
    return (
        first.role == second.role
        and first.role != generation_pb2.ROLE_TOOL
        and first.name == second.name
        and not first.tool_calls
    )


def _without_system_message(messages: Sequence[Message]) -> list[Message]:
    """Return the conversation with the instructions, its first message, at the head of what the user says first."""
    instructions, *rest = messages
    if rest and rest[0].role == _USER:
        content = "\n\n".join(filter(None, (instructions.content, rest[0].content)))
        return [Message(role=_USER, content=content, name=rest[0].name), *rest[1:]]
    return [Message(role=_USER, content=instructions.content), *rest]
