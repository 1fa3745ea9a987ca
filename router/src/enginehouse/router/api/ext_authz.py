"""Envoy's external authorisation over HTTP/1.1.

Envoy sends the request's method path, the headers that it is told to, and the body. 200 lets the request through with
our headers on it; anything else goes to the client.
"""

from __future__ import annotations

import http
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import httptools
from google.api import httpbody_pb2
from google.protobuf.message import DecodeError

from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.admission.admission import Admission
from enginehouse.router.admission.admitting import Admitted, Check
from enginehouse.router.admission.request_headers import given_request_id
from enginehouse.router.api.error_response import BUDGET_WAIT_HEADER, Headers, denial
from enginehouse.router.api.http_connection import HttpAnswer
from enginehouse.router.metrics import RouterMetrics

_log = logging.getLogger(__name__)

# No method is called so: methods have two slashes.
READY_PATH = "/readyz"
# Never 200, which would be leave: whoever came by this path as a check is refused.
_READY = HttpAnswer(b"HTTP/1.1 204 No Content\r\n", b"")
_NOT_READY = HttpAnswer(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n", b"")

# Finds what no value of a header may have: it would end the header.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]").search


class Authorization:
    """Answers checks.

    Args:
        contracts: the form of each service's errors.
        admission: decides.
        metrics: counts decisions.
        max_body_bytes: the most bytes of a body, as the server that asks holds to it.
        ready: whether this router can admit anything; Envoy asks another while it cannot.
    """

    def __init__(
        self,
        *,
        contracts: Contracts,
        admission: Admission,
        metrics: RouterMetrics,
        max_body_bytes: int,
        ready: Callable[[], bool],
    ) -> None:
        self._contracts = contracts
        self._admission = admission
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._ready = ready

    async def answer(self, target: bytes, headers: Mapping[bytes, bytes], body: bytes) -> HttpAnswer:
        """Answer one check."""
        method = _path(target)
        if method == READY_PATH:
            return _READY if self._ready() else _NOT_READY
        try:
            began = time.perf_counter()
            admitted = await self._admission.admit(Check(method, headers, body))
            self._metrics.admitted(time.perf_counter() - began)
            return HttpAnswer(_granted(admitted), b"")
        except ServiceError as error:
            return self._denied(error, method, headers, body)
        except Exception:
            _log.exception("a decision failed", extra={"method": method[:200]})
            failed = ServiceError(Reason.INTERNAL, "the request failed through a defect of the router")
            return self._denied(failed, method, headers, body)

    def too_large(self, target: bytes, headers: Mapping[bytes, bytes]) -> HttpAnswer:
        """Refuse a check whose body is too large."""
        error = ServiceError(
            Reason.REQUEST_TOO_LARGE, f"the body is over the {self._max_body_bytes} bytes that the router takes"
        )
        return self._denied(error, _path(target), headers, b"")

    def _denied(self, error: ServiceError, method: str, headers: Mapping[bytes, bytes], body: bytes) -> HttpAnswer:
        self._metrics.refused(error.reason)
        service = self._contracts.services.get(method[1:].partition("/")[0])
        openai = service is not None and service.openai_errors
        sent = _json_of(body) if openai and error.violations else b""
        status, out, answer = denial(error, openai=openai, request_id=given_request_id(headers), sent=sent)
        return HttpAnswer(_head(status, out, len(answer)), answer)


def _path(target: bytes) -> str:
    path = target.decode("latin-1")
    if path[:1] != "/" or "?" in path or "#" in path:
        # Envoy sends no other; the parser has seen that it is well-formed.
        path = (httptools.parse_url(target).path or b"/").decode("latin-1")
    return unquote(path, "latin-1") if "%" in path else path


def _json_of(body: bytes) -> bytes:
    """Return the JSON in a framed HttpBody; empty where there is none, as in a compressed one."""
    try:
        return bytes(httpbody_pb2.HttpBody.FromString(body[5:]).data)
    except DecodeError:
        return b""


def _head(status: int, headers: Headers, length: int) -> bytes:
    """Return a status line and headers. Raises ValueError if a value would end its header."""
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-length: {length}\r\n"]
    for name, value in headers:
        text = value.decode("latin-1")
        if _CONTROL(text):
            raise ValueError(f"the header {name!r} cannot have the value {text[:200]!r}")
        lines.append(f"{name.decode('latin-1')}: {text}\r\n")
    return "".join(lines).encode("latin-1")


def _granted(admitted: Admitted) -> bytes:
    """Return the head of an answer that lets a request through. Raises ValueError as `_head` does."""
    lines = [
        "HTTP/1.1 200 OK",
        "content-length: 0",
        f"x-enginehouse-request-id: {admitted.request_id}",
    ]
    if admitted.token:
        lines.append(f"x-enginehouse-grant: {admitted.token}")
    if admitted.replay_at:
        lines += [f"x-gateway-destination-endpoint: {admitted.replay_at}", "x-enginehouse-replay: 1"]
    elif admitted.endpoints:
        addresses = ",".join([endpoint.address for endpoint in admitted.endpoints])
        lines.append(f"x-gateway-destination-endpoint: {addresses}")
    if admitted.model:
        lines.append(f"x-enginehouse-model: {admitted.model}")
    if admitted.fallbacks:
        lines.append(f"x-enginehouse-fallbacks: {admitted.fallbacks}")
    if admitted.cache:
        lines.append(f"x-enginehouse-cache: {admitted.cache}")
    if admitted.budget_wait_ms:
        lines.append(f"{BUDGET_WAIT_HEADER.decode()}: {admitted.budget_wait_ms}")
    quota = admitted.quota
    if quota is not None:
        lines += [
            f"ratelimit-limit: {quota.limit}",
            f"ratelimit-remaining: {max(0, quota.remaining)}",
            f"ratelimit-reset: {math.ceil(quota.reset_s)}",
        ]
    lines.append("")
    text = "\r\n".join(lines)
    # Engines' addresses and models' names come from elsewhere; one look at the whole costs least.
    if not text.count("\r") == text.count("\n") == len(lines) - 1:
        raise ValueError(f"a value would end its header: {text[:200]!r}")
    return text.encode("latin-1")
