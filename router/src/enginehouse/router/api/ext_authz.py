"""Envoy's external authorisation over HTTP/1.1: a bare ASGI application.

Envoy sends the request's method path, the headers that it is told to, and the body. 200 lets the request through with
our headers on it; anything else goes to the client.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from google.api import httpbody_pb2
from google.protobuf.message import DecodeError

from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.admission.admission import Admission
from enginehouse.router.admission.admitting import Admitted, Check
from enginehouse.router.admission.request_headers import given_request_id
from enginehouse.router.api.error_response import Headers, denial
from enginehouse.router.metrics import RouterMetrics

_log = logging.getLogger(__name__)

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# No method is called so: methods have two slashes.
READY_PATH = "/readyz"

_EMPTY = {"type": "http.response.body", "body": b""}


class AuthorizationApp:
    """The ASGI application.

    Args:
        contracts: the form of each service's errors.
        admission: decides.
        metrics: counts decisions.
        max_body_bytes: a larger body is refused without being read to its end.
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

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one check."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        method = scope["path"]
        if method == READY_PATH:
            # Never 200, which would be leave: whoever came by this path as a check is refused.
            await send({"type": "http.response.start", "status": 204 if self._ready() else 503, "headers": []})
            await send(_EMPTY)
            return
        body: bytes | None = b""
        try:
            body = await self._body(receive)
            if body is None:
                # Envoy hung up: nobody waits for the answer, so nothing is decided or reserved.
                return
            began = time.perf_counter()
            admitted = await self._admission.admit(Check(method, headers, body))
            self._metrics.admitted(time.perf_counter() - began)
            await send({"type": "http.response.start", "status": 200, "headers": _granted(admitted)})
            await send(_EMPTY)
        except ServiceError as error:
            await self._deny(error, method, headers, body or b"", send)
        except Exception:
            _log.exception("a decision failed", extra={"method": method[:200]})
            failed = ServiceError(Reason.INTERNAL, "the request failed through a defect of the router")
            await self._deny(failed, method, headers, body or b"", send)

    async def _body(self, receive: _Receive) -> bytes | None:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                raise ServiceError(
                    Reason.REQUEST_TOO_LARGE, f"the body is over the {self._max_body_bytes} bytes that the router takes"
                )
        return b"".join(parts)

    async def _deny(
        self, error: ServiceError, method: str, headers: dict[bytes, bytes], body: bytes, send: _Send
    ) -> None:
        self._metrics.refused(error.reason)
        service = self._contracts.services.get(method[1:].partition("/")[0])
        openai = service is not None and service.openai_errors
        sent = _json_of(body) if openai and error.violations else b""
        status, out, answer = denial(error, openai=openai, request_id=given_request_id(headers), sent=sent)
        out.append((b"content-length", str(len(answer)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": out})
        await send({"type": "http.response.body", "body": answer})


def _json_of(body: bytes) -> bytes:
    """Return the JSON in a framed HttpBody; empty where there is none, as in a compressed one."""
    try:
        return bytes(httpbody_pb2.HttpBody.FromString(body[5:]).data)
    except DecodeError:
        return b""


def _granted(admitted: Admitted) -> Headers:
    headers: Headers = [
        (b"content-length", b"0"),
        (b"x-enginehouse-request-id", admitted.request_id.encode()),
    ]
    if admitted.token:
        headers.append((b"x-enginehouse-grant", admitted.token.encode()))
    if admitted.replay_at:
        headers += [
            (b"x-gateway-destination-endpoint", admitted.replay_at.encode()),
            (b"x-enginehouse-replay", b"1"),
        ]
    elif admitted.endpoints:
        addresses = ",".join([endpoint.address for endpoint in admitted.endpoints])
        headers.append((b"x-gateway-destination-endpoint", addresses.encode()))
    if admitted.model:
        headers.append((b"x-enginehouse-model", admitted.model.encode()))
    if admitted.fallbacks:
        headers.append((b"x-enginehouse-fallbacks", admitted.fallbacks.encode()))
    if admitted.cache:
        headers.append((b"x-enginehouse-cache", admitted.cache.encode()))
    quota = admitted.quota
    if quota is not None:
        headers += [
            (b"ratelimit-limit", str(quota.limit).encode()),
            (b"ratelimit-remaining", str(max(0, quota.remaining)).encode()),
            (b"ratelimit-reset", str(math.ceil(quota.reset_s)).encode()),
        ]
    return headers
