"""Behaviours of a scripted server: the ways in which a service answers one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

Behaviour = Callable[[Any, grpc.ServicerContext], Iterator[Any]]
"""A function of the request (or the iterator over the requests) and the call's context, which yields the responses."""


def respond(*messages: Any) -> Behaviour:
    """Return a behaviour that sends these messages."""

    def behave(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield from messages

    return behave


def refuse(code: grpc.StatusCode, reason: str, **details: Any) -> Behaviour:
    """Return a behaviour that refuses the call at once; the details are those of `abort`."""

    def behave(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        abort(context, code, reason, **details)
        yield

    return behave


def abort(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str,
    *,
    message: str = "no",
    retry_after_s: float | None = None,
    violations: tuple[tuple[str, str], ...] = (),
) -> NoReturn:
    """End a call as the mesh's services do: with a google.rpc.Status that holds one ErrorInfo."""
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="enginehouse", metadata={"a": "b"}))
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for field, description in violations:
            bad_request.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad_request)
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(retry_after_s * 1000))
        status.details.add().Pack(retry)
    context.abort_with_status(rpc_status.to_status(status))
