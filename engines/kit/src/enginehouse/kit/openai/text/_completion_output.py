"""The answers of completions: one JSON object, or server-sent events."""

from __future__ import annotations

from typing import Any

import orjson

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.openai.text._completion_logprobs import CompletionLogprobs
from enginehouse.kit.openai.text._output import DONE, FINISH_REASONS, JSON, stopped_by
from enginehouse.kit.openai.text._usage import completion_usage

_dumps = orjson.dumps


class CompletionStream:
    """Server-sent `text_completion` events; those of one engine message stay together in one piece."""

    content_type = "text/event-stream"

    def __init__(self, *, completion_id: str, created: int, include_usage: bool) -> None:
        self._id = completion_id
        self._created = created
        self._include_usage = include_usage
        self._head = b""
        self._tail = b"}\n\n"
        self._logprobs: dict[int, CompletionLogprobs] = {}

    def add(self, response: generation_pb2.GenerateResponse, *, first_choice: int) -> bytes:
        """Return the events for one engine message."""
        if not self._head:
            self._begin(response.model)
        return b"".join(self._event(first_choice + delta.index, delta) for delta in response.deltas)

    def end(self, usage: usage_pb2.Usage) -> bytes:
        """Return the usage event, if it was asked for, and the end mark."""
        if not self._include_usage:
            return DONE
        return self._head + b'[],"usage":' + _dumps(completion_usage(usage)) + b"}\n\n" + DONE

    def _begin(self, model: str) -> None:
        chunk = {"id": self._id, "object": "text_completion", "created": self._created, "model": model}
        self._head = b"data: " + _dumps(chunk)[:-1] + b',"choices":'
        if self._include_usage:
            self._tail = b',"usage":null}\n\n'

    def _event(self, index: int, delta: generation_pb2.ChoiceDelta) -> bytes:
        text = _dumps(delta.text)
        if not delta.finish_reason and not delta.logprobs:
            return (
                self._head
                + b'[{"text":%b,"index":%d,"logprobs":null,"finish_reason":null}]'
                % (
                    text,
                    index,
                )
                + self._tail
            )
        logprobs = None
        if delta.logprobs:
            logprobs = self._logprobs.setdefault(index, CompletionLogprobs())
            logprobs.add(delta.logprobs)
        choice = {"text": delta.text, "index": index, "logprobs": logprobs.taken() if logprobs else None}
        choice["finish_reason"] = FINISH_REASONS[delta.finish_reason] if delta.finish_reason else None
        return self._head + b"[" + _dumps(choice | stopped_by(delta)) + b"]" + self._tail


class CompletionAnswer:
    """One `text_completion` object, written at the end."""

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
        body = {"id": self._id, "object": "text_completion", "created": self._created, "model": self._model}
        return _dumps(body | {"choices": choices, "usage": completion_usage(usage)})


class _Choice:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._logprobs = CompletionLogprobs()
        self._finish_reason = "stop"
        self._extra: dict[str, str] = {}

    def add(self, delta: generation_pb2.ChoiceDelta) -> None:
        if delta.text:
            self._text.append(delta.text)
        self._logprobs.add(delta.logprobs)
        if delta.finish_reason:
            self._finish_reason = FINISH_REASONS[delta.finish_reason]
            self._extra = stopped_by(delta)

    def rendered(self, index: int, logprobs: bool) -> dict[str, Any]:
        return {
            "text": "".join(self._text),
            "index": index,
            "logprobs": self._logprobs.taken() if logprobs else None,
            "finish_reason": self._finish_reason,
        } | self._extra
