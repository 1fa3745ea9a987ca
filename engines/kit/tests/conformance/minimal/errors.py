"""Errors as the protocol wants them."""

from __future__ import annotations

import base64
import json

import grpc
from google.rpc import error_details_pb2, status_pb2

CODES = {
    "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "REQUEST_TOO_LARGE": grpc.StatusCode.INVALID_ARGUMENT,
    "GRANT_MISSING": grpc.StatusCode.PERMISSION_DENIED,
    "GRANT_INVALID": grpc.StatusCode.PERMISSION_DENIED,
    "GRANT_EXPIRED": grpc.StatusCode.PERMISSION_DENIED,
    "GRANT_REPLAYED": grpc.StatusCode.PERMISSION_DENIED,
    "NO_ENDPOINT": grpc.StatusCode.UNAVAILABLE,
    "ENGINE_DRAINING": grpc.StatusCode.UNAVAILABLE,
    "BUDGET_EXHAUSTED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "UNKNOWN_METHOD": grpc.StatusCode.UNIMPLEMENTED,
}
HTTP = {
    "INVALID_REQUEST": 400,
    "REQUEST_TOO_LARGE": 413,
    "BUDGET_EXHAUSTED": 429,
    "UNKNOWN_METHOD": 501,
    "NO_ENDPOINT": 503,
    "ENGINE_DRAINING": 503,
}


class CallError(Exception):
    """A failure that the caller is told of."""

    def __init__(self, reason: str, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field

    @property
    def code(self) -> grpc.StatusCode:
        return CODES[self.reason]

    def details(self) -> list[object]:
        found: list[object] = [error_details_pb2.ErrorInfo(reason=self.reason, domain="enginehouse")]
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.message)
            found.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.code is grpc.StatusCode.UNAVAILABLE:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(100)
            found.append(retry)
        return found

    def trailers(self, *, http_body: bool) -> tuple[tuple[str, str | bytes], ...]:
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details():
            status.details.add().Pack(detail)
        found: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
        if http_body:
            found.append(("x-enginehouse-openai-error", self.openai()))
        return tuple(found)

    def openai(self) -> str:
        body = {"error": {"message": self.message, "type": "invalid_request_error", "param": None, "code": None}}
        http = HTTP.get(self.reason, 403)
        return f"{http};{base64.urlsafe_b64encode(json.dumps(body).encode()).decode()}"
