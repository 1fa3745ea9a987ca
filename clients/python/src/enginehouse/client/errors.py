"""Failures, as exceptions that a program can tell apart.

A service answers with a `google.rpc.Status` that holds one `ErrorInfo` of the domain `enginehouse`; its reason decides
the class here. An error without one (a proxy's, a broken connection's) is classified by its gRPC code alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from enginehouse.client.generation import Generation

DOMAIN = "enginehouse"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclasses.dataclass(frozen=True, slots=True)
class FieldViolation:
    """A fault in one field of a request.

    Attributes:
        field: the field's path, such as `sampling.temperature`.
        description: the invalid value and the valid ones.
    """

    field: str
    description: str


class EnginehouseError(Exception):
    """A failed call. Catch this class for every failure, or one of its subclasses for one kind.

    Attributes:
        message: the fault and the fix, for a developer.
        code: the gRPC status code.
        reason: the name of an `ErrorReason`, such as `BUDGET_EXHAUSTED`; empty if the service gave none.
        request_id: the id of the request that failed.
        retry_after_s: seconds after which a retry may succeed; None if the service did not say.
        violations: the fields at fault, for an invalid request.
        metadata: further facts for programs, such as the budget's scope.
    """

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode,
        reason: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
        violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.violations = tuple(violations)
        self.metadata: Mapping[str, str] = dict(metadata or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reason or self.code.name}, {self.message!r})"


class InvalidRequest(EnginehouseError):
    """The request is invalid; `violations` names the fields. A retry cannot help."""


class Unauthenticated(EnginehouseError):
    """The API key is missing, unknown, revoked or expired."""


class PermissionDenied(EnginehouseError):
    """The key's scopes, tier or policy do not allow the call."""


class NotFound(EnginehouseError):
    """No such model, key, budget or method."""


class Conflict(EnginehouseError):
    """The present state does not allow the call: the name is taken, or the weights are missing."""


class RateLimited(EnginehouseError):
    """Too many requests or tokens at present; retry after `retry_after_s`."""


class BudgetExhausted(EnginehouseError):
    """A budget in scope cannot pay for the request. Waiting helps only when its window ends or it is raised."""


class Unavailable(EnginehouseError):
    """No engine or service could take the request; the client has already retried as its policy allows."""


class DeadlineExceeded(EnginehouseError):
    """The call's timeout passed first. Output produced until then is billed."""


class Cancelled(EnginehouseError):
    """The call was cancelled by this client."""


class IncompleteError(EnginehouseError):
    """A stream was cut after its beginning and could not be continued exactly.

    `code`, `reason` and the rest are those of the failure that ended it, which is also its `__cause__`.

    Attributes:
        received: the answer as far as it has come.
    """

    received: Generation

    @classmethod
    def of(cls, error: EnginehouseError, *, received: Generation, obstacle: str) -> IncompleteError:
        """Return the error for an answer that the given one cut, with the reason why it cannot be continued."""
        made = cls(
            f"the answer was cut and cannot be continued, because {obstacle}: {error.message}",
            code=error.code,
            reason=error.reason,
            request_id=error.request_id,
            retry_after_s=error.retry_after_s,
            violations=error.violations,
            metadata=error.metadata,
        )
        made.received = received
        return made


class IncompleteSpeechError(EnginehouseError):
    """Speech was cut after its beginning.

    `code`, `reason` and the rest are those of the failure that ended it, which is also its `__cause__`. The same
    request with `first_chunk=error.next_chunk` and `model=error.model` speaks the rest. The audio received may contain
    the beginning of that chunk, after the end of the last chunk in the stream's `done`.

    Attributes:
        next_chunk: the first chunk whose audio is not complete.
        model: the model that spoke; another one may divide the text into other chunks.
    """

    next_chunk: int
    model: str

    @classmethod
    def after(cls, error: EnginehouseError, *, next_chunk: int, model: str) -> IncompleteSpeechError:
        """Return the error for speech that the given one cut."""
        made = cls(
            f"the speech was cut before chunk {next_chunk} was complete: {error.message}; "
            f"the same request with first_chunk {next_chunk} and the model {model!r} speaks the rest",
            code=error.code,
            reason=error.reason,
            request_id=error.request_id,
            retry_after_s=error.retry_after_s,
            violations=error.violations,
            metadata=error.metadata,
        )
        made.next_chunk = next_chunk
        made.model = model
        return made


class ServerFault(EnginehouseError):
    """A defect or a failure of the service, or a stream cut by one."""


_BY_REASON: Mapping[str, type[EnginehouseError]] = MappingProxyType(
    {
        "BUDGET_EXHAUSTED": BudgetExhausted,
        "RATE_LIMITED": RateLimited,
        "TOKENS_LIMITED": RateLimited,
        "CONCURRENCY_LIMITED": RateLimited,
        "ENGINE_BUSY": RateLimited,
        "UPSTREAM_RATE_LIMITED": RateLimited,
    }
)

_BY_CODE: Mapping[grpc.StatusCode, type[EnginehouseError]] = MappingProxyType(
    {
        grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
        grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
        grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
        grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
        grpc.StatusCode.NOT_FOUND: NotFound,
        grpc.StatusCode.UNIMPLEMENTED: NotFound,
        grpc.StatusCode.ALREADY_EXISTS: Conflict,
        grpc.StatusCode.FAILED_PRECONDITION: Conflict,
        grpc.StatusCode.ABORTED: Conflict,
        grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
        grpc.StatusCode.UNAVAILABLE: Unavailable,
        grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
        grpc.StatusCode.CANCELLED: Cancelled,
    }
)


def from_rpc_error(error: grpc.RpcError, *, request_id: str = "") -> EnginehouseError:
    """Return the exception for a failed call.

    Args:
        error: a finished call's error, from the synchronous or the asyncio API.
        request_id: the id that the request was sent under.
    """
    # Both APIs' errors carry these, but their common base class does not declare them.
    call: Any = error
    code: grpc.StatusCode = call.code()
    message: str = call.details() or code.name
    status = _status(call.trailing_metadata())
    reason = ""
    metadata: dict[str, str] = {}
    violations: list[FieldViolation] = []
    retry_after_s: float | None = None
    for detail in status.details if status is not None else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            if info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            violations = [FieldViolation(violation.field, violation.description) for violation in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry_after_s = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay.ToMilliseconds() / 1000
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code, ServerFault)
    return kind(
        message,
        code=code,
        reason=reason,
        request_id=request_id,
        retry_after_s=retry_after_s,
        violations=violations,
        metadata=metadata,
    )


def _status(trailers: Any) -> status_pb2.Status | None:
    for key, value in trailers or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                # Details of a proxy, or damaged ones: the code and the text still tell the failure.
                return None
    return None
