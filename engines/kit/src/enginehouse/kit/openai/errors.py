"""OpenAI's error bodies, made from our errors by pure functions, so that engines and router answer alike."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import orjson

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

ERROR_METADATA_KEY = "x-enginehouse-openai-error"
"""Trailing metadata of a failed call: `<http status>;<base64url JSON error body>`, for the HTTP edge."""

_MAX_MESSAGE_LENGTH = 1000
"""The number of a message's characters that are kept: an error travels in headers, which peers limit to 8 KiB."""

_INVALID = "invalid_request_error"
_SERVER = "server_error"

_KINDS: Mapping[Reason, tuple[str, str | None]] = {
    Reason.INVALID_REQUEST: (_INVALID, "invalid_value"),
    Reason.UNKNOWN_MODEL: (_INVALID, "model_not_found"),
    Reason.CONTEXT_LENGTH_EXCEEDED: (_INVALID, "context_length_exceeded"),
    Reason.UNSUPPORTED_CAPABILITY: (_INVALID, "unsupported_value"),
    Reason.INVALID_SCHEMA: (_INVALID, "invalid_schema"),
    Reason.REQUEST_TOO_LARGE: (_INVALID, "request_too_large"),
    Reason.GRANT_MISSING: ("permission_error", "grant_missing"),
    Reason.GRANT_INVALID: ("permission_error", "grant_invalid"),
    Reason.GRANT_EXPIRED: ("permission_error", "grant_expired"),
    Reason.GRANT_REPLAYED: ("permission_error", "grant_replayed"),
    Reason.ENGINE_BUSY: (_SERVER, "engine_busy"),
    Reason.ENGINE_DRAINING: (_SERVER, "engine_draining"),
    Reason.WEIGHTS_ABSENT: (_INVALID, "weights_absent"),
    Reason.UPSTREAM_FAILED: (_SERVER, "upstream_failed"),
    Reason.UPSTREAM_RATE_LIMITED: ("rate_limit_error", "upstream_rate_limited"),
    Reason.BACKEND_FAILED: (_SERVER, "backend_failed"),
    Reason.KEY_MISSING: (_INVALID, "invalid_api_key"),
    Reason.KEY_INVALID: (_INVALID, "invalid_api_key"),
    Reason.TOKEN_INVALID: (_INVALID, "invalid_token"),
    Reason.SCOPE_DENIED: ("permission_error", "insufficient_permissions"),
    Reason.MODEL_DENIED: ("permission_error", "model_denied"),
    Reason.BUDGET_EXHAUSTED: ("insufficient_quota", "insufficient_quota"),
    Reason.RATE_LIMITED: ("requests", "rate_limit_exceeded"),
    Reason.TOKENS_LIMITED: ("tokens", "rate_limit_exceeded"),
    Reason.CONCURRENCY_LIMITED: ("requests", "rate_limit_exceeded"),
    Reason.NO_ENDPOINT: (_SERVER, "no_endpoint"),
    Reason.LEDGER_UNAVAILABLE: (_SERVER, "ledger_unavailable"),
    Reason.NOT_FOUND: (_INVALID, "not_found"),
    Reason.ALREADY_EXISTS: (_INVALID, "already_exists"),
    Reason.FAILED_PRECONDITION: (_INVALID, "failed_precondition"),
    Reason.DEADLINE_EXCEEDED: (_SERVER, "deadline_exceeded"),
    Reason.UNKNOWN_METHOD: (_INVALID, "unknown_url"),
    Reason.INTERNAL: (_SERVER, "internal_error"),
    Reason.ANSWER_LOST: (_SERVER, "answer_lost"),
    Reason.RESUME_IMPOSSIBLE: (_INVALID, "resume_impossible"),
}


def openai_error(error: ServiceError) -> tuple[int, bytes]:
    """Return the HTTP status and the JSON error body that OpenAI's clients expect for `error`.

    `param` is the first field violation's field. `code` is OpenAI's own where it has one; a ServiceError's metadata
    entry `code` names a finer one.
    """
    kind, code = _KINDS[error.reason]
    message = error.message
    if len(message) > _MAX_MESSAGE_LENGTH:
        message = message[: _MAX_MESSAGE_LENGTH - 3] + "..."
    param = error.violations[0].field if error.violations else None
    if param is None and error.reason in (Reason.UNKNOWN_MODEL, Reason.MODEL_DENIED):
        param = "model"
    body = {"message": message, "type": kind, "param": param, "code": error.metadata.get("code", code)}
    return error.http_status, orjson.dumps({"error": body})


def error_metadata(error: ServiceError) -> tuple[str, str]:
    """Return the trailing metadata entry by which the gateway answers with exactly OpenAI's body."""
    status, body = openai_error(error)
    return ERROR_METADATA_KEY, f"{status};{base64.urlsafe_b64encode(body).decode()}"


def error_event(error: ServiceError) -> bytes:
    """Return a server-sent event that makes OpenAI's clients raise in the middle of a stream."""
    return b"data: " + openai_error(error)[1] + b"\n\n"


_EDGE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "inputs": "input",
        "choices": "n",
        "prompt_token_ids": "prompt",
        "format.json_schema": "response_format.json_schema.schema",
        "format.json_object": "response_format",
        "format.grammar": "grammar",
        "format": "response_format",
        "audio": "file",
        "audio.encoding": "response_format",
        "audio.sample_rate": "sample_rate",
        "ssml": "input",
        "text": "input",
        "tool_choice.name": "tool_choice.function.name",
        "tool_choice.mode": "tool_choice",
    }
)
# What lies in an object of its own in OpenAI's form: of a tool, and of a call in a message.
_OF_FUNCTIONS = (
    (re.compile(r"(tools\[\d+\])\.parameters_json_schema"), r"\1.function.parameters"),
    (re.compile(r"(tools\[\d+\])\.(name|description)"), r"\1.function.\2"),
    (re.compile(r"(messages\[\d+\]\.tool_calls\[\d+\])\.(name|arguments)"), r"\1.function.\2"),
)
_BOUNDS = ("max_completion_tokens", "max_tokens")
_PROMPTS = ("messages", "prompt", "input")


def with_edge_names(error: ServiceError, sent: bytes = b"") -> ServiceError:
    """Return the error with its violations' fields named as the client's parameters: `sampling.top_p` is `top_p`.

    Args:
        error: in the names of our contracts, or of OpenAI's already.
        sent: the JSON body, of whose names the right one is taken where OpenAI has several.
    """
    if error.reason is Reason.CONTEXT_LENGTH_EXCEEDED:
        members = _members(sent)
        found = next((name for name in _PROMPTS if name in members), None)
        violations = [FieldViolation(found, error.message)] if found else list(error.violations)
        return _renamed(error, error.message, violations)
    if not error.violations:
        return error
    members = _members(sent) if any(_needs_body(violation.field) for violation in error.violations) else {}
    violations = [
        FieldViolation(_edge_name(violation.field, members), violation.description) for violation in error.violations
    ]
    before, message = error.violations[0].field, error.message
    # Messages begin with the field, as `field: what is wrong`.
    if message.startswith(f"{before}:"):
        message = violations[0].field + message[len(before) :]
    return _renamed(error, message, violations)


def _renamed(error: ServiceError, message: str, violations: Sequence[FieldViolation]) -> ServiceError:
    return ServiceError(
        error.reason,
        message,
        violations=violations,
        retry_after_s=error.retry_after_s,
        metadata=error.metadata,
    )


def _needs_body(field: str) -> bool:
    return field.startswith(("max_output_tokens", "inputs["))


def _members(sent: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(sent) if sent else {}
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _edge_name(field: str, members: Mapping[str, Any]) -> str:
    name = field.removeprefix("sampling.").removeprefix("controls.").removeprefix("options.")
    if name == "max_output_tokens":
        return next((bound for bound in _BOUNDS if bound in members), "max_tokens")
    if name.startswith("inputs[") and isinstance(members.get("input"), str):
        return "input"
    for pattern, theirs in _OF_FUNCTIONS:
        if pattern.match(name):
            return pattern.sub(theirs, name, count=1)
    for ours, known in sorted(_EDGE_NAMES.items(), key=lambda item: -len(item[0])):
        rest = name[len(ours) :]
        if name.startswith(ours) and (not rest or rest[0] in ".["):
            return known + rest
    return name
