"""Retries, deadlines and typed errors, over a real connection."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from clients.python.tests.harness.behaviours import abort, refuse, respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.responses import story
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.client import (
    BudgetExhausted,
    Conflict,
    DeadlineExceeded,
    EnginehouseError,
    IncompleteError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    RetryPolicy,
    ServerFault,
    Unauthenticated,
    Unavailable,
)

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def test_an_unavailable_call_is_retried_under_its_id(server: ScriptedServer, connect: Connect) -> None:
    unavailable = refuse(UNAVAILABLE, "NO_ENDPOINT")
    server.script = [unavailable, unavailable, respond(*story())]
    assert (await connect(server.url).generate("x")).text == "A clever crow"
    assert len({request.request_id for request in server.requests}) == 1
    assert len(server.requests) == 3


async def test_attempts_are_bounded(server: ScriptedServer, connect: Connect) -> None:
    server.script = [refuse(UNAVAILABLE, "NO_ENDPOINT")] * 4
    with pytest.raises(Unavailable) as failed:
        await connect(server.url).call("embed", "x")
    assert failed.value.reason == "NO_ENDPOINT"
    assert len(server.requests) == 3


async def test_a_retry_waits_as_long_as_the_service_asks(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        refuse(UNAVAILABLE, "LEDGER_UNAVAILABLE", retry_after_s=0.3),
        respond(*story()),
    ]
    started = time.monotonic()
    await connect(server.url).generate("x")
    assert time.monotonic() - started >= 0.3


async def test_no_retry_is_started_that_the_deadline_would_cut(server: ScriptedServer, connect: Connect) -> None:
    server.script = [refuse(UNAVAILABLE, "NO_ENDPOINT", retry_after_s=30.0)]
    started = time.monotonic()
    with pytest.raises(Unavailable) as failed:
        await connect(server.url).generate("x", timeout_s=5)
    assert failed.value.retry_after_s == 30.0
    assert time.monotonic() - started < 4


async def test_a_stream_is_not_retried_after_its_first_message(server: ScriptedServer, connect: Connect) -> None:
    def cut(request: Any, context: grpc.ServicerContext) -> Any:
        yield story()[0]
        abort(context, UNAVAILABLE, "ENGINE_DRAINING")

    server.script = [cut, respond(*story())]
    with pytest.raises(IncompleteError, match="was cut and cannot be continued") as failed:
        await connect(server.url).generate("x")
    assert (failed.value.code, failed.value.reason) == (UNAVAILABLE, "ENGINE_DRAINING")
    assert failed.value.received.text == "A clever "
    assert isinstance(failed.value.__cause__, Unavailable)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED", BudgetExhausted),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", RateLimited),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "ENGINE_BUSY", RateLimited),
        (grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED", InvalidRequest),
        (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID", Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_DENIED", PermissionDenied),
        (grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL", NotFound),
        (grpc.StatusCode.UNIMPLEMENTED, "UNKNOWN_METHOD", NotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, "WEIGHTS_ABSENT", Conflict),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, "BACKEND_FAILED", ServerFault),
        (grpc.StatusCode.DATA_LOSS, "", ServerFault),
    ],
)
async def test_reasons_become_classes_and_are_not_retried(
    server: ScriptedServer, connect: Connect, code: grpc.StatusCode, reason: str, kind: type[EnginehouseError]
) -> None:
    server.script = [refuse(code, reason, message="because", retry_after_s=1.5, violations=(("seed", "too big"),))]
    with pytest.raises(EnginehouseError) as failed:
        await connect(server.url).generate("x", request_id="r-1")
    error = failed.value
    assert type(error) is kind
    assert (error.code, error.reason, error.message, error.request_id) == (code, reason, "because", "r-1")
    assert error.retry_after_s == 1.5
    assert [(violation.field, violation.description) for violation in error.violations] == [("seed", "too big")]
    assert error.metadata == {"a": "b"}
    assert len(server.requests) == 1


async def test_an_error_without_details_is_classified_by_its_code(server: ScriptedServer, connect: Connect) -> None:
    def without_details(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "a proxy says no")
        yield

    server.script = [without_details]
    with pytest.raises(PermissionDenied, match="a proxy says no") as failed:
        await connect(server.url).generate("x")
    assert failed.value.reason == ""


async def test_damaged_details_do_not_hide_the_error(server: ScriptedServer, connect: Connect) -> None:
    def damaged(request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        yield

    server.script = [damaged]
    with pytest.raises(NotFound, match="gone"):
        await connect(server.url).generate("x")


async def test_the_timeout_is_the_calls_deadline(server: ScriptedServer, connect: Connect) -> None:
    def slow(request: Any, context: grpc.ServicerContext) -> Any:
        assert server.ended.wait(10)
        yield

    server.script = [slow, slow]
    mesh = connect(server.url, timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await mesh.generate("x")
    assert time.monotonic() - started < 3
    # Cleared only after the server has noticed the end; else the next call would not wait.
    await server.wait_until_ended()
    server.ended.clear()
    with pytest.raises(DeadlineExceeded):
        await mesh.generate("x", timeout_s=0.1)
    assert server.time_remaining[0] <= 0.25
    assert server.time_remaining[1] <= 0.15


async def test_a_refused_connection_is_unavailable(connect: Connect, free_port: int) -> None:
    with pytest.raises(Unavailable, match=str(free_port)):
        await connect(f"http://127.0.0.1:{free_port}").generate("x")


def test_invalid_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="invalid max_attempts 0"):
        RetryPolicy(max_attempts=0)
    with pytest.raises(ValueError, match="invalid backoff"):
        RetryPolicy(initial_backoff_s=2, max_backoff_s=1)
