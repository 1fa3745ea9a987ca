"""The headers that a request is admitted by, besides its key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.ids import new_id

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_NAME = re.compile(r"[\x21-\x7e]{1,128}").fullmatch
_MAX_ATTEMPTS = 1000
# gRPC's: at most eight digits and a unit.
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])").fullmatch
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def service_of(method: str) -> str:
    """Return the service of a full method name. Raises UNKNOWN_METHOD for what is not one."""
    service, slash, name = method[1:].partition("/")
    if not method.startswith("/") or not slash or not name or "/" in name:
        raise ServiceError(Reason.UNKNOWN_METHOD, f"{method[:200]!r} is not a method; write '/package.Service/Method'")
    return service


def refuse_partial_body(headers: Mapping[bytes, bytes]) -> None:
    """Raise REQUEST_TOO_LARGE if Envoy passed on only the beginning of the body."""
    if headers.get(b"x-envoy-auth-partial-body") == b"true":
        raise ServiceError(Reason.REQUEST_TOO_LARGE, "the body is larger than the gateway passes on; send less")


def given_request_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the request id in the headers, Envoy's, or a new one where there is none that is well-formed."""
    for name in (b"x-enginehouse-request-id", b"x-request-id"):
        given = headers.get(name, b"").decode("latin-1")
        if _ID(given):
            return given
    return new_id("req")


def chosen_request_id(headers: Mapping[bytes, bytes], from_body: str) -> str:
    """Return the request id that the caller chose; empty if it chose none. Raises INVALID_REQUEST."""
    given = headers[b"x-enginehouse-request-id"].decode("latin-1") if b"x-enginehouse-request-id" in headers else ""
    given = given or from_body
    if given and not _ID(given):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"request_id: {given[:64]!r} must be 1-64 characters of [A-Za-z0-9_-]; leave it out to be given one",
        )
    return given


def decision_timeout_s(headers: Mapping[bytes, bytes]) -> float:
    """Return for how many seconds the caller and Envoy wait at most, as far as they say; infinite if they do not."""
    timeouts = [math.inf]
    told = _TIMEOUT(headers.get(b"grpc-timeout", b""))
    if told:
        timeouts.append(int(told[1]) * _UNIT_S[told[2]])
    envoys = headers.get(b"x-envoy-expected-rq-timeout-ms", b"")
    if envoys.isdigit():
        timeouts.append(int(envoys[:9]) / 1000)
    return min(timeouts)


def attempt(headers: Mapping[bytes, bytes]) -> int:
    """Return which attempt at the request this is, from 1. Raises INVALID_REQUEST."""
    given = headers.get(b"x-enginehouse-attempt")
    if given is None:
        return 1
    if not given.isdigit() or not 1 <= int(given[:8]) <= _MAX_ATTEMPTS:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"x-enginehouse-attempt: {given[:32]!r} must be a whole number from 1 to {_MAX_ATTEMPTS}",
        )
    return int(given)


def user_or_run(headers: Mapping[bytes, bytes], name: bytes) -> str:
    """Return the user or run that a header names; empty if it names none. Raises INVALID_REQUEST."""
    given = headers.get(name)
    if not given:
        return ""
    text = given.decode("latin-1")
    if not _NAME(text):
        raise ServiceError(
            Reason.INVALID_REQUEST, f"{name.decode()}: must be 1-128 printable ASCII characters without spaces"
        )
    return text
