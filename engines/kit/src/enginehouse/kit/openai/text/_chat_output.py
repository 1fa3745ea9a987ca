"""The answers of chat completions: one JSON object, or server-sent events."""

from __future__ import annotations

from typing import Any

import orjson

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai.text._output import DONE, FINISH_REASONS, JSON, chat_logprobs, stopped_by
from enginehouse.kit.openai.text._usage import completion_usage

_dumps = orjson.dumps


class ChatStream:
    """Server-sent `chat.completion.chunk` events; those of one engine message stay together in one piece.

    Most events carry only text: everything else in them is encoded once a choice.
    """

    content_type = "text/event-stream"

    def __init__(self, *, completion_id: str, created: int, include_usage: bool) -> None:
        self._id = completion_id
        self._created = created
        self._include_usage = include_usage
        self._head = b""
        self._tail = b"}\n\n"
        self._text_heads: dict[int, bytes] = {}
        self._text_tail = b""

    def add(self, response: generation_pb2.GenerateResponse, *, first_choice: int) -> bytes:
        """Return the events for one engine message."""
        if not self._head:
            self._begin(response.model)
        events: list[bytes] = []
        for delta in response.deltas:
            index = first_choice + delta.index
            head = self._text_heads.get(index)
            if head is None:
                if not (delta.text or delta.tool_calls or delta.reasoning or delta.logprobs or delta.finish_reason):
                    # What the choice begins with is not known yet: text, or a call.
                    continue
                head = self._open(index, events, calls=bool(delta.tool_calls) and not delta.text)
            if delta.tool_calls or delta.reasoning or delta.logprobs:
                logprobs = chat_logprobs(delta.logprobs)
                for members in _deltas(delta):
                    events.append(self._event(index, members, logprobs))
                    logprobs = []
            elif delta.text:
                events += (head, _dumps(delta.text), self._text_tail)
            if delta.finish_reason:
                reason = FINISH_REASONS[delta.finish_reason]
                events.append(self._event(index, {}, [], finish_reason=reason, **stopped_by(delta)))
        return b"".join(events)

    def end(self, usage: usage_pb2.Usage) -> bytes:
        """Return the usage event, if it was asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        return self._head + b'[],"usage":' + _dumps(completion_usage(usage)) + b"}\n\n" + DONE

    def _begin(self, model: str) -> None:
        chunk = {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": model}
        self._head = b"data: " + _dumps(chunk)[:-1] + b',"choices":'
        if self._include_usage:
            self._tail = b',"usage":null}\n\n'
        self._text_tail = b'},"logprobs":null,"finish_reason":null}]' + self._tail

    def _open(self, index: int, events: list[bytes], *, calls: bool) -> bytes:
        # OpenAI's clients take the role from a choice's first event; one that begins with a call has no content.
        content = None if calls else ""
        events.append(self._event(index, {"role": "assistant", "content": content, "refusal": None}, []))
        head = self._head + b'[{"index":%d,"delta":{"content":' % index
        self._text_heads[index] = head
        return head

    def _event(
        self, index: int, delta: dict[str, Any], logprobs: list[dict[str, Any]], finish_reason: str | None = None,
        **extra: str,
    ) -> bytes:  # fmt: skip
        choice: dict[str, Any] = {"index": index, "delta": delta}
        choice["logprobs"] = {"content": logprobs, "refusal": None} if logprobs else None
        choice["finish_reason"] = finish_reason
        choice.update(extra)
        return self._head + b"[" + _dumps(choice) + b"]" + self._tail


class ChatAnswer:
    """One `chat.completion` object, written at the end."""

    content_type = JSON

    def __init__(self, *, completion_id: str, created: int, logprobs: bool) -> None:
        self._id = completion_id
        self._created = created
        self._logprobs = logprobs
        self._model = ""
        self._choices: dict[int, _Choice] = {}

    def add(self, response: generation_pb2.GenerateResponse, *, first_choice: int) -> bytes:
        """Add one engine message."""
        self._model = self._model or response.model
        for delta in response.deltas:
            index = first_choice + delta.index
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = _Choice()
            choice.add(delta)
        return b""

    def end(self, usage: usage_pb2.Usage) -> bytes:
        """Return the object."""
        choices = [self._choices[index].rendered(index, self._logprobs) for index in sorted(self._choices)]
        body = {"id": self._id, "object": "chat.completion", "created": self._created, "model": self._model}
        return _dumps(body | {"choices": choices, "usage": completion_usage(usage)})


class _Choice:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, generation_pb2.ToolCall] = {}
        self._arguments: dict[int, list[str]] = {}
        self._logprobs: list[dict[str, Any]] = []
        self._finish_reason = "stop"
        self._extra: dict[str, str] = {}

    def add(self, delta: generation_pb2.ChoiceDelta) -> None:
        if delta.text:
            self._text.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        for piece in delta.tool_calls:
            call = self._calls.setdefault(piece.index, generation_pb2.ToolCall())
            call.id = call.id or piece.id
            call.name = call.name or piece.name
            self._arguments.setdefault(piece.index, []).append(piece.arguments)
        self._logprobs += chat_logprobs(delta.logprobs)
        if delta.finish_reason:
            self._finish_reason = FINISH_REASONS[delta.finish_reason]
            self._extra = stopped_by(delta)

    def rendered(self, index: int, logprobs: bool) -> dict[str, Any]:
        text = "".join(self._text)
        message: dict[str, Any] = {"role": "assistant", "content": text or (None if self._calls else "")}
        message["refusal"] = None
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = [
                _call(call.id, call.name, "".join(self._arguments[position]))
                for position, call in sorted(self._calls.items())
            ]
        choice: dict[str, Any] = {"index": index, "message": message}
        choice["logprobs"] = {"content": self._logprobs, "refusal": None} if logprobs else None
        choice["finish_reason"] = self._finish_reason
        return choice | self._extra


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _deltas(delta: generation_pb2.ChoiceDelta) -> list[dict[str, Any]]:
    """Return the `delta` of each event: clients read only the first tool call of an event."""
    members: dict[str, Any] = {}
    if delta.reasoning:
        members["reasoning_content"] = delta.reasoning
    if delta.text or delta.logprobs:
        members["content"] = delta.text
    calls: dict[int, dict[str, Any]] = {}
    for piece in delta.tool_calls:
        call = calls.get(piece.index)
        if call is None:
            calls[piece.index] = _piece(piece)
        else:
            call["function"]["arguments"] += piece.arguments
    events = [{"tool_calls": [call]} for call in calls.values()]
    if members or not events:
        return [members | (events[0] if events else {}), *events[1:]]
    return events


def _piece(piece: generation_pb2.ToolCallDelta) -> dict[str, Any]:
    # Only a call's first piece has an id and a name; clients append the arguments of the others to it.
    if piece.id or piece.name:
        return {"index": piece.index} | _call(piece.id, piece.name, piece.arguments)
    return {"index": piece.index, "function": {"arguments": piece.arguments}}
