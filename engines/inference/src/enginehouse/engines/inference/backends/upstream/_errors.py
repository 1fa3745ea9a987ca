"""Errors for a provider's refusals and failures. A provider's key never gets into an error."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from enginehouse.engines.inference.backends.upstream._options import UpstreamProvider
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

_MAX_MESSAGE_LENGTH = 500
_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


@dataclass(eq=False)
class ProviderFailure(Exception):
    """A failed attempt: its error, whether a retry may succeed, and when the provider allows one."""

    error: ServiceError
    retryable: bool
    retry_after_s: float | None = None


def from_transport(error: httpx.HTTPError, provider: UpstreamProvider) -> ProviderFailure:
    """Return the failure of a connection that could not be made, broke, or went silent."""
    host = httpx.URL(provider.base_url).host
    if isinstance(error, httpx.TimeoutException):
        kind = "could not be reached in time" if isinstance(error, httpx.ConnectTimeout) else "went silent"
        message = f"the provider at {host} {kind}"
    else:
        why = provider.hidden(str(error)) or type(error).__name__
        message = f"the connection to the provider at {host} failed: {why}"
    return ProviderFailure(ServiceError(Reason.UPSTREAM_FAILED, message), retryable=True)


def from_answer(status: int, headers: Mapping[str, str], body: bytes, provider: UpstreamProvider) -> ProviderFailure:
    """Return the failure of an HTTP answer other than 200."""
    told = _told(body)
    message = provider.hidden(str(told.get("message") or "no reason given"))[:_MAX_MESSAGE_LENGTH]
    code = str(told.get("code") or "")
    retry_after_s = _retry_after(headers)
    if status in (401, 403):
        # Providers repeat parts of the key in these messages.
        error = ServiceError(
            Reason.UPSTREAM_FAILED,
            f"the provider refuses our credentials (HTTP {status}); check the key that the model's key_variable names",
        )
    elif status == 429:
        spent = code == "insufficient_quota"
        error = ServiceError(
            Reason.UPSTREAM_RATE_LIMITED,
            f"rate limited by the provider: {message}",
            # Waiting does not restore a spent quota.
            retry_after_s=None if spent else retry_after_s or 1.0,
        )
        return ProviderFailure(error, retryable=not spent, retry_after_s=retry_after_s)
    elif code == "context_length_exceeded":
        error = ServiceError(Reason.CONTEXT_LENGTH_EXCEEDED, message)
    elif code == "invalid_schema":
        error = ServiceError(Reason.INVALID_SCHEMA, message)
    elif status == 413:
        error = ServiceError(Reason.REQUEST_TOO_LARGE, f"request too large for the provider: {message}")
    elif status in (400, 422):
        param = told.get("param")
        violations = [FieldViolation(param, message)] if isinstance(param, str) else []
        refusal = f"the provider refuses the request: {message}"
        error = ServiceError(Reason.INVALID_REQUEST, refusal, violations=violations)
    else:
        error = ServiceError(
            Reason.UPSTREAM_FAILED, f"the provider failed (HTTP {status}): {message}", retry_after_s=retry_after_s
        )
    return ProviderFailure(error, retryable=status in _RETRYABLE, retry_after_s=retry_after_s)


def from_event(told: Any, provider: UpstreamProvider) -> ServiceError:
    """Return the failure that a provider reports in the middle of its stream."""
    message = str(told.get("message") if isinstance(told, dict) else told)
    return ServiceError(
        Reason.UPSTREAM_FAILED, f"the provider failed while answering: {provider.hidden(message)[:_MAX_MESSAGE_LENGTH]}"
    )


def _told(body: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = answer.get("error", answer) if isinstance(answer, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                moment = email.utils.parsedate_to_datetime(value)
            except ValueError:
                continue
            seconds = moment.timestamp() - time.time()
        if 0 <= seconds < 86_400:
            return seconds
    return None
