"""What can go wrong, as exceptions that a program can tell apart.

A service answers with a `google.rpc.Status` that holds one `ErrorInfo` of the domain `enginehouse`; its reason settles
the class here. An answer without one (a proxy's, a broken connection) is classed by its gRPC code alone.
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
    """What is wrong with one field of a request.

    Attributes:
        field: the field's path, such as `sampling.temperature`.
        description: the bad value and what would be right.
    """

    field: str
    description: str


class EnginehouseError(Exception):
    """A call failed. Catch this for every failure, or one of the classes below for one kind.

    Attributes:
        message: for a developer; names the bad value and the fix.
        code: the gRPC status code.
        reason: the name of an `ErrorReason`, such as `BUDGET_EXHAUSTED`; empty where the answer carried none.
        request_id: the id of the request that failed.
        retry_after_s: seconds after which a retry may succeed; None where the service did not say.
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
    """The request itself is wrong; `violations` names the fields. Sending it again cannot help."""


class Unauthenticated(EnginehouseError):
    """The API key is missing, unknown, revoked or expired."""


class PermissionDenied(EnginehouseError):
    """The key's scopes, tier or policy do not allow the call."""


class NotFound(EnginehouseError):
    """No such model, key, budget or method."""


class Conflict(EnginehouseError):
    """The state of things does not allow the call: the name is taken, the weights are not there."""


class RateLimited(EnginehouseError):
    """Too many requests or tokens for now; `retry_after_s` says when to come back."""


class BudgetExhausted(EnginehouseError):
    """A budget in scope cannot pay for the request. Waiting does not help before its window ends or it is raised."""


class Unavailable(EnginehouseError):
    """Nobody could take the request now; the client has already tried again as its policy allows."""


class DeadlineExceeded(EnginehouseError):
    """The call's timeout passed first. What had been produced until then is billed."""


class Cancelled(EnginehouseError):
    """The call was cancelled on this side."""


class IncompleteError(EnginehouseError):
    """A stream was cut after its beginning and could not be continued exactly.

    `code`, `reason` and the rest are of the failure that ended it, which is also its `__cause__`.

    Attributes:
        received: the answer as far as it came.
    """

    received: Generation

    @classmethod
    def of(cls, error: EnginehouseError, *, received: Generation, why: str) -> IncompleteError:
        """After the error, for want of a way to go on."""
        made = cls(
            f"the answer broke off and cannot be continued, because {why}: {error.message}",
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

    `code`, `reason` and the rest are of the failure that ended it, which is also its `__cause__`. The same request with
    `first_chunk=error.next_chunk` and `model=error.model` speaks the rest. The audio that came may hold a beginning of
    that chunk, after the end of the last of the stream's `done`.

    Attributes:
        next_chunk: the first chunk whose audio did not come whole.
        model: the model that spoke; another one may divide the text into other chunks.
    """

    next_chunk: int
    model: str

    @classmethod
    def after(cls, error: EnginehouseError, *, next_chunk: int, model: str) -> IncompleteSpeechError:
        """After the error that cut it."""
        made = cls(
            f"the speech broke off before chunk {next_chunk} was whole; the same request with first_chunk {next_chunk} "
            f"and the model {model!r} speaks the rest: {error.message}",
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
    """A defect or failure on the other side, or a stream cut by one."""


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
    """The exception that a failed call stands for.

    Args:
        error: a finished call's error, of the synchronous or the asyncio API.
        request_id: the id that the request was sent under.
    """
    # Both APIs' errors carry these, but their common base class declares none of them.
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
            violations = [FieldViolation(each.field, each.description) for each in bad.field_violations]
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
                # A proxy's details, or damage on the way: the code and the text still say what happened.
                return None
    return None
