"""A refusal as each kind of caller reads it: gRPC status headers, our JSON, or OpenAI's error body.

Envoy takes a 5xx answer for a failure of the router itself, so a refusal never has one: UNAVAILABLE and INTERNAL
travel in `grpc-status`, which gRPC callers and the transcoder read, and in OpenAI's error header, which the edge reads.
"""

from __future__ import annotations

import binascii
import math
from urllib.parse import quote

import orjson
from google.rpc import error_details_pb2, status_pb2

from enginehouse.kit.errors import DOMAIN, Reason, ServiceError, to_status
from enginehouse.kit.openai import ERROR_METADATA_KEY, error_metadata, openai_error, with_edge_names
from enginehouse.router.admission.errors import WAITED_MS

Headers = list[tuple[bytes, bytes]]

BUDGET_WAIT_HEADER = b"x-enginehouse-budget-wait-ms"
"""How long a request waited for a budget, where it did, in milliseconds; whether or not it was refused then."""

_JSON = (b"content-type", b"application/json")
# Printable ASCII without "%", as grpc-message wants it.
_SAFE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


def denial(error: ServiceError, *, openai: bool, request_id: str, sent: bytes = b"") -> tuple[int, Headers, bytes]:
    """The HTTP status, headers and body of a refusal.

    Envoy does not say who called: gRPC callers get the headers from it, JSON callers the body.

    Args:
        error: why.
        openai: whether errors of the service over HTTP have OpenAI's form.
        request_id: the request's id, if it is known.
        sent: the JSON body of a call whose errors have OpenAI's form, if it is known.
    """
    status = to_status(error)
    headers: Headers = [
        (b"grpc-status", str(status.code).encode()),
        (b"grpc-message", quote(status.message, safe=_SAFE).encode()),
        (b"grpc-status-details-bin", _unpadded(status.SerializeToString())),
    ]
    if request_id:
        headers.append((b"x-enginehouse-request-id", request_id.encode()))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    if WAITED_MS in error.metadata:
        headers.append((BUDGET_WAIT_HEADER, error.metadata[WAITED_MS].encode()))
    if error.reason is Reason.RATE_LIMITED:
        headers += [
            (b"ratelimit-limit", error.metadata["limit"].encode()),
            (b"ratelimit-remaining", b"0"),
            (b"ratelimit-reset", error.metadata["reset_s"].encode()),
        ]
    if error.reason in (Reason.KEY_MISSING, Reason.KEY_INVALID):
        headers.append((b"www-authenticate", b'Bearer realm="enginehouse"'))
    if openai:
        error = with_edge_names(error, sent)
        headers.append((ERROR_METADATA_KEY.encode(), error_metadata(error)[1].encode()))
    headers.append(_JSON)
    wire = error.http_status if error.http_status < 500 else 403
    return wire, headers, openai_error(error)[1] if openai else json_status(status)


def json_status(status: status_pb2.Status) -> bytes:
    """A `google.rpc.Status` as JSON, with the fields' own names, as the edge writes engines' errors."""
    details: list[dict[str, object]] = []
    for detail in status.details:
        entry: dict[str, object] = {"@type": detail.type_url}
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            entry |= {"reason": info.reason, "domain": DOMAIN, "metadata": dict(info.metadata)}
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            entry["field_violations"] = [
                {"field": violation.field, "description": violation.description} for violation in bad.field_violations
            ]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            entry["retry_delay"] = f"{delay.ToMilliseconds() / 1000:.3f}s"
        details.append(entry)
    return orjson.dumps({"code": status.code, "message": status.message, "details": details})


def _unpadded(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=")
