"""Cut streams that are continued, over a real connection: the caller sees one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from clients.python.tests.harness.behaviours import Behaviour, abort, refuse
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client import BudgetExhausted, IncompleteError, RateLimited, RetryPolicy, ServerFault, Unavailable

WORDS = ["A ", "clever ", "crow ", "sat ", "down."]
INPUT, OUTPUT, CACHED = usage_pb2.UNIT_INPUT_TOKENS, usage_pb2.UNIT_OUTPUT_TOKENS, usage_pb2.UNIT_CACHED_INPUT_TOKENS
UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
RETRIES = RetryPolicy(max_attempts=4, initial_backoff_s=0.01, max_backoff_s=0.02)


def add_usage(usage: usage_pb2.Usage, units: dict[usage_pb2.Unit.ValueType, int]) -> None:
    for unit, amount in units.items():
        usage.units.add(unit=unit, amount=amount)
    usage.cost_nanos = sum(units.values())


def engine(
    *, until: int, cut: Callable[[grpc.ServicerContext], object] | None = None, resumable: bool = True
) -> Behaviour:
    """Return a behaviour that continues WORDS where the request asks to, up to a word, and is then cut."""

    def behave(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        received = len(request.resume.token_ids)
        if received:
            assert list(request.resume.token_ids) == list(range(received))
            assert request.resume.receipt == b"r%d" % received
        prompt = {CACHED: 9 + received} if received else {INPUT: 9}
        first = True
        for number in range(received, until):
            message = generation_pb2.GenerateResponse()
            if first:
                message.request_id, message.model, message.resumable = request.request_id, "tiny", resumable
                first = False
            delta = message.deltas.add(text=WORDS[number], token_count=1)
            if resumable:
                delta.token_ids.append(number)
                if number + 1 < len(WORDS):
                    delta.receipt = b"r%d" % (number + 1)
                add_usage(message.usage_so_far, {**prompt, OUTPUT: number + 1 - received})
            if number + 1 == len(WORDS):
                delta.finish_reason = generation_pb2.FINISH_REASON_STOP
                add_usage(message.summary.usage, {**prompt, OUTPUT: number + 1 - received})
            yield message
        if cut is not None:
            cut(context)

    return behave


def reset(context: grpc.ServicerContext) -> None:
    """End a call as a proxy does when its engine has died."""
    context.abort(INTERNAL, "Received RST_STREAM with error code 2")


def drain(context: grpc.ServicerContext) -> None:
    """End a call as an engine does that is shutting down."""
    abort(context, UNAVAILABLE, "ENGINE_DRAINING")


async def test_the_caller_sees_one_answer(server: ScriptedServer, connect: Connect) -> None:
    server.script = [engine(until=2, cut=reset), engine(until=3, cut=drain), engine(until=5)]
    answer = await connect(server.url, retries=RETRIES).generate("x", request_id="mine", seed=3)
    assert (answer.text, answer.finish_reason, answer.complete) == ("".join(WORDS), "stop", True)
    assert (answer.request_id, answer.model) == ("mine", "tiny")
    # Each token once; the prompt once as input, and again with what was there already as cached input.
    assert answer.usage == {"input_tokens": 9, "output_tokens": 5, "cached_input_tokens": (9 + 2) + (9 + 3)}
    assert answer.cost_nanos == sum(answer.usage.values())
    assert [metadata.get("x-enginehouse-attempt") for metadata in server.metadata] == [None, "2", "3"]
    assert {metadata["x-enginehouse-request-id"] for metadata in server.metadata} == {"mine"}
    first, *others = server.requests
    for other in others:
        assert (first.model, other.model, other.resumable) == ("auto", "tiny", True)
        assert (other.messages, other.sampling) == (first.messages, first.sampling)


async def test_an_error_after_the_summary_is_ignored(server: ScriptedServer, connect: Connect) -> None:
    server.script = [engine(until=5, cut=reset)]
    answer = await connect(server.url, retries=RETRIES).generate("x")
    assert (answer.text, answer.complete, answer.usage["output_tokens"]) == ("".join(WORDS), True, 5)
    assert len(server.requests) == 1


async def test_texts_are_not_repeated(server: ScriptedServer, connect: Connect) -> None:
    server.script = [engine(until=1, cut=reset), engine(until=4, cut=reset), engine(until=5)]
    assert await connect(server.url, retries=RETRIES).texts("x") == WORDS


async def test_unavailable_and_busy_engines_are_retried(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        engine(until=2, cut=reset),
        refuse(UNAVAILABLE, "NO_ENDPOINT"),
        refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "ENGINE_BUSY", retry_after_s=0.01),
        engine(until=5),
    ]
    assert (await connect(server.url, retries=RETRIES).generate("x")).text == "".join(WORDS)
    assert server.metadata[-1]["x-enginehouse-attempt"] == "4"


async def test_progress_resets_the_attempts_but_not_the_resumes(server: ScriptedServer, connect: Connect) -> None:
    cuts = [engine(until=number + 1, cut=reset) for number in range(4)]
    server.script = [*cuts, engine(until=5)]
    policy = RetryPolicy(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, max_resumes=4)
    assert (await connect(server.url, retries=policy).generate("x")).text == "".join(WORDS)
    server.script = [*cuts, engine(until=5)]
    policy = RetryPolicy(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, max_resumes=3)
    with pytest.raises(IncompleteError) as failed:
        await connect(server.url, retries=policy).generate("x")
    assert failed.value.received.text == "".join(WORDS[:4])
    assert isinstance(failed.value.__cause__, ServerFault)


async def test_without_progress_the_attempts_run_out(server: ScriptedServer, connect: Connect) -> None:
    unavailable = refuse(UNAVAILABLE, "NO_ENDPOINT")
    server.script = [engine(until=2, cut=reset), unavailable, unavailable, unavailable]
    with pytest.raises(IncompleteError, match="used up") as failed:
        await connect(server.url, retries=RETRIES).generate("x")
    assert failed.value.reason == "NO_ENDPOINT"
    assert isinstance(failed.value.__cause__, Unavailable)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("code", "reason", "cause"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "RESUME_IMPOSSIBLE", None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED", BudgetExhausted),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", RateLimited),
        (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID", None),
    ],
)
async def test_a_refused_continuation_raises_with_the_text_received(
    server: ScriptedServer, connect: Connect, code: grpc.StatusCode, reason: str, cause: Any
) -> None:
    server.script = [engine(until=3, cut=reset), refuse(code, reason)]
    with pytest.raises(IncompleteError, match="refused") as failed:
        await connect(server.url, retries=RETRIES).generate("x")
    assert (failed.value.code, failed.value.reason) == (code, reason)
    assert failed.value.received.text == "".join(WORDS[:3])
    assert not failed.value.received.complete
    assert cause is None or isinstance(failed.value.__cause__, cause)


async def test_an_answer_that_is_not_resumable_raises_with_the_text_received(
    server: ScriptedServer, connect: Connect
) -> None:
    server.script = [engine(until=3, cut=reset, resumable=False)]
    with pytest.raises(IncompleteError, match="does not support it") as failed:
        await connect(server.url, retries=RETRIES).generate("x")
    assert failed.value.received.text == "".join(WORDS[:3])
    assert len(server.requests) == 1


async def test_resuming_can_be_switched_off(server: ScriptedServer, connect: Connect) -> None:
    server.script = [engine(until=3, cut=reset)]
    with pytest.raises(IncompleteError, match="switched off"):
        await connect(server.url, retries=RetryPolicy(max_resumes=0)).generate("x")
    assert not server.requests[0].resumable


async def test_an_error_of_the_request_itself_is_not_resumed(server: ScriptedServer, connect: Connect) -> None:
    server.script = [
        engine(
            until=2,
            cut=lambda context: abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED"),
        )
    ]
    with pytest.raises(BudgetExhausted):
        await connect(server.url, retries=RETRIES).generate("x")


async def test_leaving_a_stream_does_not_resume_it(server: ScriptedServer, connect: Connect) -> None:
    def endless(request: Any, context: grpc.ServicerContext) -> Any:
        yield from engine(until=2)(request, context)
        assert server.ended.wait(10)

    server.script = [endless]
    assert await connect(server.url, retries=RETRIES).first_text("x") == WORDS[0]
    await server.wait_until_ended()
    assert len(server.requests) == 1


def test_a_negative_number_of_resumes_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid max_resumes -1"):
        RetryPolicy(max_resumes=-1)
