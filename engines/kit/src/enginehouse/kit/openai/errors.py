"""OpenAI's error bodies, made from our errors by pure functions, so that engines and router answer alike."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import orjson

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

ERROR_METADATA_KEY = "x-enginehouse-openai-error"
"""Trailing metadata of a failed call: `<http status>;<base64url JSON error body>`, for the HTTP edge."""

_MAX_MESSAGE_LENGTH = 1000
"""The number of a message's characters that are kept: an error travels in headers, which peers limit to 8 KiB."""

_INVALID = "invalid_request_error"
_SERVER = "server_error"

_KINDS: Mapping[Reason, tuple[str, str | None]] = {
    Reason.INVALID_REQUEST: (_INVALID, None),
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
    if param is None and error.reason is Reason.UNKNOWN_MODEL:
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


_EDGE_NAMES: Mapping[str, str] = {
    "inputs": "input",
    "max_output_tokens": "max_tokens",
    "choices": "n",
    "prompt_only": "max_tokens",
    "prompt_token_ids": "prompt",
    "format.json_schema": "response_format",
    "format.json_object": "response_format",
    "format.grammar": "grammar",
    "format": "response_format",
    "audio": "file",
    "audio.encoding": "response_format",
    "audio.sample_rate": "sample_rate",
    "ssml": "input",
    "text": "input",
}


def with_edge_names(error: ServiceError) -> ServiceError:
    """Return the error with its violations' fields named as OpenAI's parameters: `sampling.top_p` becomes `top_p`."""
    if not error.violations:
        return error
    violations = [FieldViolation(_edge_name(violation.field), violation.description) for violation in error.violations]
    return ServiceError(
        error.reason,
        error.message,
        violations=violations,
        retry_after_s=error.retry_after_s,
        metadata=error.metadata,
    )


def _edge_name(field: str) -> str:
    name = field.removeprefix("sampling.").removeprefix("controls.").removeprefix("options.")
    head, bracket, rest = name.partition("[")
    return _EDGE_NAMES.get(head, head) + bracket + rest
