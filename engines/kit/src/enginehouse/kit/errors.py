"""The one error type, and the table from its reasons to gRPC and HTTP statuses.

A failure that a service reports to its caller is a `ServiceError`. The server turns it into a `google.rpc.Status` with
exactly one `ErrorInfo` (domain `enginehouse`), a `BadRequest` for field violations and a `RetryInfo` when a retry
helps. Any other exception that escapes a handler is a defect: it is logged, and the caller sees INTERNAL without its
text.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "enginehouse"
STATUS_DETAILS_KEY = "grpc-status-details-bin"

# A status travels in HTTP/2 trailers, which peers limit to about 8 KiB.
_MAX_MESSAGE = 1024
_MAX_VIOLATIONS = 12
_MAX_DESCRIPTION = 256


class Reason(enum.StrEnum):
    """The reason why a call failed: the names of `common.v1.ErrorReason` without their prefix."""

    INVALID_REQUEST = "INVALID_REQUEST"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    UNSUPPORTED_CAPABILITY = "UNSUPPORTED_CAPABILITY"
    INVALID_SCHEMA = "INVALID_SCHEMA"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    GRANT_MISSING = "GRANT_MISSING"
    GRANT_INVALID = "GRANT_INVALID"
    GRANT_EXPIRED = "GRANT_EXPIRED"
    GRANT_REPLAYED = "GRANT_REPLAYED"
    ENGINE_BUSY = "ENGINE_BUSY"
    ENGINE_DRAINING = "ENGINE_DRAINING"
    WEIGHTS_ABSENT = "WEIGHTS_ABSENT"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    UPSTREAM_RATE_LIMITED = "UPSTREAM_RATE_LIMITED"
    BACKEND_FAILED = "BACKEND_FAILED"
    KEY_MISSING = "KEY_MISSING"
    KEY_INVALID = "KEY_INVALID"
    SCOPE_DENIED = "SCOPE_DENIED"
    MODEL_DENIED = "MODEL_DENIED"
    BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED"
    RATE_LIMITED = "RATE_LIMITED"
    TOKENS_LIMITED = "TOKENS_LIMITED"
    CONCURRENCY_LIMITED = "CONCURRENCY_LIMITED"
    NO_ENDPOINT = "NO_ENDPOINT"
    LEDGER_UNAVAILABLE = "LEDGER_UNAVAILABLE"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNKNOWN_METHOD = "UNKNOWN_METHOD"
    INTERNAL = "INTERNAL"
    ANSWER_LOST = "ANSWER_LOST"
    TOKEN_INVALID = "TOKEN_INVALID"
    RESUME_IMPOSSIBLE = "RESUME_IMPOSSIBLE"


STATUS_CODES: Mapping[Reason, grpc.StatusCode] = MappingProxyType(
    {
        Reason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.UNKNOWN_MODEL: grpc.StatusCode.NOT_FOUND,
        Reason.CONTEXT_LENGTH_EXCEEDED: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.UNSUPPORTED_CAPABILITY: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.INVALID_SCHEMA: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.REQUEST_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
        Reason.GRANT_MISSING: grpc.StatusCode.PERMISSION_DENIED,
        Reason.GRANT_INVALID: grpc.StatusCode.PERMISSION_DENIED,
        Reason.GRANT_EXPIRED: grpc.StatusCode.PERMISSION_DENIED,
        Reason.GRANT_REPLAYED: grpc.StatusCode.PERMISSION_DENIED,
        Reason.ENGINE_BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.ENGINE_DRAINING: grpc.StatusCode.UNAVAILABLE,
        Reason.WEIGHTS_ABSENT: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.UPSTREAM_FAILED: grpc.StatusCode.UNAVAILABLE,
        Reason.UPSTREAM_RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.BACKEND_FAILED: grpc.StatusCode.INTERNAL,
        Reason.KEY_MISSING: grpc.StatusCode.UNAUTHENTICATED,
        Reason.KEY_INVALID: grpc.StatusCode.UNAUTHENTICATED,
        Reason.SCOPE_DENIED: grpc.StatusCode.PERMISSION_DENIED,
        Reason.MODEL_DENIED: grpc.StatusCode.PERMISSION_DENIED,
        Reason.BUDGET_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.TOKENS_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.CONCURRENCY_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Reason.NO_ENDPOINT: grpc.StatusCode.UNAVAILABLE,
        Reason.LEDGER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        Reason.ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
        Reason.FAILED_PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
        Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
        Reason.UNKNOWN_METHOD: grpc.StatusCode.UNIMPLEMENTED,
        Reason.INTERNAL: grpc.StatusCode.INTERNAL,
        Reason.ANSWER_LOST: grpc.StatusCode.UNAVAILABLE,
        Reason.TOKEN_INVALID: grpc.StatusCode.UNAUTHENTICATED,
        Reason.RESUME_IMPOSSIBLE: grpc.StatusCode.FAILED_PRECONDITION,
    }
)

HTTP_STATUS: Mapping[grpc.StatusCode, int] = MappingProxyType(
    {
        grpc.StatusCode.OK: 200,
        grpc.StatusCode.CANCELLED: 499,
        grpc.StatusCode.UNKNOWN: 500,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.ALREADY_EXISTS: 409,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
        grpc.StatusCode.FAILED_PRECONDITION: 400,
        grpc.StatusCode.ABORTED: 409,
        grpc.StatusCode.OUT_OF_RANGE: 400,
        grpc.StatusCode.UNIMPLEMENTED: 501,
        grpc.StatusCode.INTERNAL: 500,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.DATA_LOSS: 500,
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class FieldViolation:
    """The fault of one field of a request.

    Attributes:
        field: the field's path in the request, such as `sampling.temperature` or `messages[2].role`.
        description: the bad value and what would be valid, in one sentence.
    """

    field: str
    description: str


class ServiceError(Exception):
    """A failure that is reported to the caller.

    Attributes:
        reason: one of the closed list of reasons; it determines the gRPC code.
        message: for a developer: the fault first, with the bad value, then the fix. Never a secret.
        violations: the fields at fault, for an invalid request.
        retry_after_s: seconds after which a retry may succeed, or None when a retry does not help.
        metadata: further facts for programs, such as the budget's scope.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)
        self.retry_after_s = retry_after_s
        self.metadata: Mapping[str, str] = dict(metadata or {})

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status code of the reason."""
        return STATUS_CODES[self.reason]

    @property
    def http_status(self) -> int:
        """The HTTP status of the reason."""
        if self.reason is Reason.REQUEST_TOO_LARGE:
            return 413
        return HTTP_STATUS[self.code]

    def __repr__(self) -> str:
        return f"ServiceError({self.reason.value}, {self.message!r})"


def to_status(error: ServiceError) -> status_pb2.Status:
    """Return the `google.rpc.Status` of an error: one ErrorInfo, then BadRequest and RetryInfo where they apply.

    Long texts are clipped and only the first dozen violations are kept, so that the status always fits into trailers.
    """
    status = status_pb2.Status(code=error.code.value[0], message=clip(error.message, _MAX_MESSAGE))
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.metadata)
    )
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations[:_MAX_VIOLATIONS]:
            bad.field_violations.add(
                field=clip(violation.field, _MAX_DESCRIPTION), description=clip(violation.description, _MAX_DESCRIPTION)
            )
        status.details.add().Pack(bad)
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(max(0, round(error.retry_after_s * 1000)))
        status.details.add().Pack(retry)
    return status


def clip(text: str, limit: int) -> str:
    """Return the text as valid UTF-8 of at most `limit` characters."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text.encode("utf-8", "replace").decode("utf-8")


def from_status(status: status_pb2.Status) -> ServiceError | None:
    """Return the error that a status carries, or None if it has no ErrorInfo of ours or an unknown reason."""
    reason: Reason | None = None
    metadata: dict[str, str] = {}
    violations: list[FieldViolation] = []
    retry_after_s: float | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            if info.domain == DOMAIN and info.reason in Reason.__members__:
                reason = Reason(info.reason)
                metadata = dict(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_after_s = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToMilliseconds() / 1000
    if reason is None:
        return None
    return ServiceError(reason, status.message, violations=violations, retry_after_s=retry_after_s, metadata=metadata)


def from_rpc_error(error: grpc.RpcError) -> ServiceError | None:
    """Return the error that a failed call carries in its trailers, or None if there is none of ours."""
    trailers: Any = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailers or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    return None
