"""Retries, deadlines and typed errors, over a real connection."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

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


async def test_a_call_that_nobody_took_is_sent_again_under_its_id(server: Any, connect: Any, behaviours: Any) -> None:
    gone = behaviours.refusing(UNAVAILABLE, "NO_ENDPOINT")
    server.behaviours = [gone, gone, behaviours.answering(*behaviours.story())]
    assert (await connect(server.url).generate("x")).text == "A clever crow"
    assert len({request.request_id for request in server.requests}) == 1
    assert len(server.requests) == 3


async def test_it_is_sent_only_as_often_as_allowed(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [behaviours.refusing(UNAVAILABLE, "NO_ENDPOINT")] * 4
    with pytest.raises(Unavailable) as failed:
        await connect(server.url).embed("x")
    assert failed.value.reason == "NO_ENDPOINT"
    assert len(server.requests) == 3


async def test_a_retry_waits_as_long_as_the_service_asks(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [
        behaviours.refusing(UNAVAILABLE, "LEDGER_UNAVAILABLE", retry_after_s=0.3),
        behaviours.answering(*behaviours.story()),
    ]
    began = time.monotonic()
    await connect(server.url).generate("x")
    assert time.monotonic() - began >= 0.3


async def test_no_retry_is_begun_that_the_deadline_would_cut(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [behaviours.refusing(UNAVAILABLE, "NO_ENDPOINT", retry_after_s=30.0)]
    began = time.monotonic()
    with pytest.raises(Unavailable) as failed:
        await connect(server.url).generate("x", timeout_s=5)
    assert failed.value.retry_after_s == 30.0
    assert time.monotonic() - began < 4


async def test_a_stream_is_never_sent_again_after_its_first_message(server: Any, connect: Any, behaviours: Any) -> None:
    def cut(request: Any, context: grpc.ServicerContext) -> Any:
        yield behaviours.story()[0]
        behaviours.refuse(context, UNAVAILABLE, "ENGINE_DRAINING")

    server.behaviours = [cut, behaviours.answering(*behaviours.story())]
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
    server: Any, connect: Any, behaviours: Any, code: grpc.StatusCode, reason: str, kind: type[EnginehouseError]
) -> None:
    server.behaviours = [
        behaviours.refusing(code, reason, message="because", retry_after_s=1.5, violations=(("seed", "too big"),))
    ]
    with pytest.raises(EnginehouseError) as failed:
        await connect(server.url).generate("x", request_id="r-1")
    error = failed.value
    assert type(error) is kind
    assert (error.code, error.reason, error.message, error.request_id) == (code, reason, "because", "r-1")
    assert error.retry_after_s == 1.5
    assert [(v.field, v.description) for v in error.violations] == [("seed", "too big")]
    assert error.metadata == {"a": "b"}
    assert len(server.requests) == 1


async def test_an_error_without_details_is_classed_by_its_code(server: Any, connect: Any) -> None:
    def plain(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "a proxy says no")
        yield

    server.behaviours = [plain]
    with pytest.raises(PermissionDenied, match="a proxy says no") as failed:
        await connect(server.url).generate("x")
    assert failed.value.reason == ""


async def test_damaged_details_hide_no_error(server: Any, connect: Any) -> None:
    def damaged(request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        yield

    server.behaviours = [damaged]
    with pytest.raises(NotFound, match="gone"):
        await connect(server.url).generate("x")


async def test_the_timeout_is_the_calls_deadline(server: Any, connect: Any) -> None:
    def slow(request: Any, context: grpc.ServicerContext) -> Any:
        assert server.gone.wait(10)
        yield

    server.behaviours = [slow, slow]
    mesh = connect(server.url, timeout_s=0.2)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await mesh.generate("x")
    assert time.monotonic() - began < 3
    # Cleared before the server has noticed, the next call would not wait.
    assert server.gone.wait(10)
    server.gone.clear()
    with pytest.raises(DeadlineExceeded):
        await mesh.generate("x", timeout_s=0.1)
    assert server.time_remaining[0] <= 0.25
    assert server.time_remaining[1] <= 0.15


async def test_where_nobody_listens_the_error_says_so(connect: Any, free_port: int) -> None:
    with pytest.raises(Unavailable, match=str(free_port)):
        await connect(f"http://127.0.0.1:{free_port}").generate("x")


def test_policies_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="invalid max_attempts 0"):
        RetryPolicy(max_attempts=0)
    with pytest.raises(ValueError, match="invalid backoff"):
        RetryPolicy(initial_backoff_s=2, max_backoff_s=1)
