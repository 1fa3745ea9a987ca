"""Requests of OpenAI's API: the fields that bound the cost, and no others. The engine checks the rest."""

from __future__ import annotations

from typing import Any

import orjson
from google.api import httpbody_pb2
from google.protobuf.message import DecodeError

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.router.request._request import (
    CONVERSATION_OVERHEAD,
    MESSAGE_OVERHEAD,
    MOST_CHOICES,
    InferenceRequest,
    Purpose,
    needs,
    utf8_length,
)

_MOST = 2**31 - 1
_LONGEST_USER = 128


def chat(message: bytes) -> InferenceRequest:
    """A chat completion."""
    body = json_body(message)
    messages = body.get("messages")
    texts: list[str] = []
    size = CONVERSATION_OVERHEAD
    if isinstance(messages, list):
        for one in messages:
            size += MESSAGE_OVERHEAD
            if not isinstance(one, dict):
                continue
            content = one.get("content")
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
                size += _weight(one.get(key))
    tools = body.get("tools") or body.get("functions")
    form = body.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    size += _weight(tools) + _weight(form)
    return InferenceRequest(
        purpose=Purpose.GENERATE,
        model=model_of(body),
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


def completion(message: bytes) -> InferenceRequest:
    """A completion of one or several prompts."""
    body = json_body(message)
    prompt = body.get("prompt")
    prompts = _several(prompt)
    texts = [one for one in prompts if isinstance(one, str)]
    return InferenceRequest(
        purpose=Purpose.GENERATE,
        model=model_of(body),
        texts=texts or [""],
        input_bytes=sum(_input_size(one) for one in prompts) + _weight(body.get("suffix")),
        max_output_tokens=_whole(body.get("max_tokens")),
        choices=_choices(max(_choices(body.get("n")), _choices(body.get("best_of")))) * max(1, len(prompts)),
        capabilities=needs("completion", "logprobs" if body.get("logprobs") else ""),
        user_id=_user(body),
    )


def embedding(message: bytes) -> InferenceRequest:
    """Embeddings of a text, texts, tokens, or lists of tokens."""
    body = json_body(message)
    inputs = _several(body.get("input"))
    return InferenceRequest(
        purpose=Purpose.EMBED,
        model=model_of(body),
        inputs=[_input_size(one) for one in inputs],
        capabilities=needs("embeddings"),
        user_id=_user(body),
    )


def json_body(message: bytes) -> dict[str, Any]:
    """The JSON object in an HttpBody. Raises INVALID_REQUEST."""
    try:
        data = httpbody_pb2.HttpBody.FromString(message).data
    except DecodeError:
        raise ServiceError(Reason.INVALID_REQUEST, "the body is not a valid google.api.HttpBody") from None
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ServiceError(Reason.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ServiceError(Reason.INVALID_REQUEST, f"the body must be a JSON object, not {type(body).__name__}")
    return body


def model_of(body: dict[str, Any]) -> str:
    """The model that a body names. Raises INVALID_REQUEST."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            "model: name a model, or 'auto' to let the router choose",
            violations=[FieldViolation("model", "must be a model's name, or 'auto'")],
        )
    return model


def _user(body: dict[str, Any]) -> str:
    user = body.get("user")
    if not isinstance(user, str) or not user:
        return ""
    if len(user) > _LONGEST_USER or not user.isprintable():
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"user: must be at most {_LONGEST_USER} printable characters",
            violations=[FieldViolation("user", f"must be at most {_LONGEST_USER} printable characters")],
        )
    return user


def _whole(value: object) -> int:
    """A positive whole number, or 0 for anything else, which the engine will refuse or ignore."""
    return min(value, _MOST) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _choices(value: object) -> int:
    return min(max(1, _whole(value)), MOST_CHOICES)


def _input_size(value: object) -> int:
    """Tokens at most of a text, or of a list of token ids."""
    if isinstance(value, str):
        return utf8_length(value) + MESSAGE_OVERHEAD
    return (len(value) if isinstance(value, list) else 0) + MESSAGE_OVERHEAD


def _several(value: object) -> list[object]:
    """A list of texts or of lists of tokens as it is; one text or one list of tokens as a list of one."""
    return value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]


def _weight(value: object) -> int:
    """Bytes that a structure takes when a template writes it out."""
    if not value:
        return 0
    if isinstance(value, str):
        return utf8_length(value)
    return len(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2))
