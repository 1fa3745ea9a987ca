"""Requests of OpenAI's API: the fields that bound the cost, and no others. The engine checks the rest."""

from __future__ import annotations

from typing import Any

import orjson

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.validation import is_printable
from enginehouse.router.request._call import IncomingCall, required_model
from enginehouse.router.request._request import (
    CONVERSATION_OVERHEAD,
    MAX_CHOICES,
    MESSAGE_OVERHEAD,
    InferenceRequest,
    Task,
    needs,
    utf8_length,
)

_MAX_NUMBER = 2**31 - 1
_MAX_USER_LENGTH = 128


def generate(call: IncomingCall) -> InferenceRequest:
    """Size a chat completion, or a completion where the method is for those."""
    return _chat(call.json()) if "chat" in call.method.capabilities else _completion(call.json())


def _chat(body: dict[str, Any]) -> InferenceRequest:
    messages = body.get("messages")
    texts: list[str] = []
    size = CONVERSATION_OVERHEAD
    if isinstance(messages, list):
        for message in messages:
            size += MESSAGE_OVERHEAD
            if not isinstance(message, dict):
                continue
            content = message.get("content")
            if isinstance(content, str):
                texts.append(content)
                size += utf8_length(content)
            elif isinstance(content, list):
                for part in content:
                    text = part.get("text") if isinstance(part, dict) else None
                    if isinstance(text, str):
                        texts.append(text)
                        size += utf8_length(text)
            for key in ("tool_calls", "name", "tool_call_id", "function_call", "reasoning_content"):
                size += _weight(message.get(key))
    tools = body.get("tools") or body.get("functions")
    form = body.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    size += _weight(tools) + _weight(form)
    return InferenceRequest(
        task=Task.GENERATE,
        model=required_model(body.get("model")),
        texts=texts,
        input_bytes=size,
        max_output_tokens=_whole(body.get("max_completion_tokens")) or _whole(body.get("max_tokens")),
        choices=_choices(body.get("n")),
        capabilities=needs(
            "chat",
            "tools" if tools else "",
            "json_schema" if kind in ("json_schema", "json_object") else "",
            "grammar" if body.get("grammar") else "",
            "logprobs" if body.get("logprobs") else "",
        ),
        user_id=_user(body),
    )


def _completion(body: dict[str, Any]) -> InferenceRequest:
    prompts = _several(body.get("prompt"))
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    return InferenceRequest(
        task=Task.GENERATE,
        model=required_model(body.get("model")),
        texts=texts or [""],
        input_bytes=sum(_input_size(prompt) for prompt in prompts) + _weight(body.get("suffix")),
        max_output_tokens=_whole(body.get("max_tokens")),
        choices=_choices(max(_choices(body.get("n")), _choices(body.get("best_of")))) * max(1, len(prompts)),
        capabilities=needs("completion", "logprobs" if body.get("logprobs") else ""),
        user_id=_user(body),
    )


def embed(call: IncomingCall) -> InferenceRequest:
    """Size a request for embeddings of a text, texts, tokens, or lists of tokens."""
    body = call.json()
    inputs = _several(body.get("input"))
    return InferenceRequest(
        task=Task.EMBED,
        model=required_model(body.get("model")),
        inputs=[_input_size(entry) for entry in inputs],
        capabilities=call.method.capabilities,
        user_id=_user(body),
    )


def _user(body: dict[str, Any]) -> str:
    user = body.get("user")
    if not isinstance(user, str) or not user:
        return ""
    if len(user) > _MAX_USER_LENGTH or not is_printable(user):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"user: must be at most {_MAX_USER_LENGTH} printable characters",
            violations=[FieldViolation("user", f"must be at most {_MAX_USER_LENGTH} printable characters")],
        )
    return user


def _whole(value: object) -> int:
    """Return a positive whole number, or 0 for anything else, which the engine will refuse or ignore."""
    return min(value, _MAX_NUMBER) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _choices(value: object) -> int:
    return min(max(1, _whole(value)), MAX_CHOICES)


def _input_size(value: object) -> int:
    """Return the most tokens of a text, or of a list of token ids."""
    if isinstance(value, str):
        return utf8_length(value) + MESSAGE_OVERHEAD
    return (len(value) if isinstance(value, list) else 0) + MESSAGE_OVERHEAD


def _several(value: object) -> list[object]:
    """Return a list of texts or of lists of tokens as it is, one text or one list of tokens as a list of one."""
    return value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]


def _weight(value: object) -> int:
    """Return the bytes that a structure takes when a template writes it out."""
    if not value:
        return 0
    if isinstance(value, str):
        return utf8_length(value)
    return len(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2))
