"""Streams that are cut and continued, over a real connection: the caller sees one answer."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client import BudgetExhausted, IncompleteError, RateLimited, RetryPolicy, ServerFault, Unavailable

WORDS = ["A ", "clever ", "crow ", "sat ", "down."]
INPUT, OUTPUT, CACHED = 1, 2, 3
UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL
PATIENT = RetryPolicy(max_attempts=4, initial_backoff_s=0.01, max_backoff_s=0.02)


def used(message: Any, units: dict[int, int]) -> None:
    for unit, amount in units.items():
        message.units.add(unit=unit, amount=amount)
    message.cost_nanos = sum(units.values())


def engine(*, until: int, cut: Any = None, resumable: bool = True) -> Any:
    """Behaves as an engine that goes on with WORDS where the request says, up to a word, and is then cut."""

    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        had = len(request.resume.token_ids)
        if had:
            assert list(request.resume.token_ids) == list(range(had))
            assert request.resume.receipt == b"r%d" % had
        prompt = {CACHED: 9 + had} if had else {INPUT: 9}
        first = True
        for number in range(had, until):
            message = generation_pb2.GenerateResponse()
            if first:
                message.request_id, message.model, message.resumable = request.request_id, "tiny", resumable
                first = False
            delta = message.deltas.add(text=WORDS[number], token_count=1)
            if resumable:
                delta.token_ids.append(number)
                if number + 1 < len(WORDS):
                    delta.receipt = b"r%d" % (number + 1)
                used(message.usage_so_far, {**prompt, OUTPUT: number + 1 - had})
            if number + 1 == len(WORDS):
                delta.finish_reason = generation_pb2.FINISH_REASON_STOP
                used(message.summary.usage, {**prompt, OUTPUT: number + 1 - had})
            yield message
        if cut is not None:
            cut(context)

    return behave


def reset(context: grpc.ServicerContext) -> None:
    """What a proxy makes of an engine that died."""
    context.abort(INTERNAL, "Received RST_STREAM with error code 2")


@pytest.fixture
def drained(behaviours: Any) -> Any:
    return lambda context: behaviours.refuse(context, UNAVAILABLE, "ENGINE_DRAINING")


async def test_the_caller_sees_one_answer(server: Any, connect: Any, drained: Any) -> None:
    server.behaviours = [engine(until=2, cut=reset), engine(until=3, cut=drained), engine(until=5)]
    answer = await connect(server.url, retries=PATIENT).generate("x", request_id="mine", seed=3)
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


async def test_what_breaks_after_the_summary_has_cut_nothing_off(server: Any, connect: Any) -> None:
    server.behaviours = [engine(until=5, cut=reset)]
    answer = await connect(server.url, retries=PATIENT).generate("x")
    assert (answer.text, answer.complete, answer.usage["output_tokens"]) == ("".join(WORDS), True, 5)
    assert len(server.requests) == 1


async def test_texts_come_once_and_in_order(server: Any, connect: Any) -> None:
    server.behaviours = [engine(until=1, cut=reset), engine(until=4, cut=reset), engine(until=5)]
    assert await connect(server.url, retries=PATIENT).texts("x") == WORDS


async def test_engines_that_are_away_or_busy_are_waited_for(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [
        engine(until=2, cut=reset),
        behaviours.refusing(UNAVAILABLE, "NO_ENDPOINT"),
        behaviours.refusing(grpc.StatusCode.RESOURCE_EXHAUSTED, "ENGINE_BUSY", retry_after_s=0.01),
        engine(until=5),
    ]
    assert (await connect(server.url, retries=PATIENT).generate("x")).text == "".join(WORDS)
    assert server.metadata[-1]["x-enginehouse-attempt"] == "4"


async def test_progress_renews_patience_and_its_bound_holds(server: Any, connect: Any) -> None:
    every = [engine(until=number + 1, cut=reset) for number in range(4)]
    server.behaviours = [*every, engine(until=5)]
    policy = RetryPolicy(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, max_resumes=4)
    assert (await connect(server.url, retries=policy).generate("x")).text == "".join(WORDS)
    server.behaviours = [*every, engine(until=5)]
    policy = RetryPolicy(max_attempts=2, initial_backoff_s=0.01, max_backoff_s=0.02, max_resumes=3)
    with pytest.raises(IncompleteError) as failed:
        await connect(server.url, retries=policy).generate("x")
    assert failed.value.received.text == "".join(WORDS[:4])
    assert isinstance(failed.value.__cause__, ServerFault)


async def test_without_progress_it_gives_up(server: Any, connect: Any, behaviours: Any) -> None:
    gone = behaviours.refusing(UNAVAILABLE, "NO_ENDPOINT")
    server.behaviours = [engine(until=2, cut=reset), gone, gone, gone]
    with pytest.raises(IncompleteError, match="used up") as failed:
        await connect(server.url, retries=PATIENT).generate("x")
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
async def test_a_refusal_to_go_on_ends_it_with_what_came(
    server: Any, connect: Any, behaviours: Any, code: grpc.StatusCode, reason: str, cause: Any
) -> None:
    server.behaviours = [engine(until=3, cut=reset), behaviours.refusing(code, reason)]
    with pytest.raises(IncompleteError, match="refused") as failed:
        await connect(server.url, retries=PATIENT).generate("x")
    assert (failed.value.code, failed.value.reason) == (code, reason)
    assert failed.value.received.text == "".join(WORDS[:3])
    assert not failed.value.received.complete
    assert cause is None or isinstance(failed.value.__cause__, cause)


async def test_what_cannot_be_continued_ends_with_what_came(server: Any, connect: Any) -> None:
    server.behaviours = [engine(until=3, cut=reset, resumable=False)]
    with pytest.raises(IncompleteError, match="does not support it") as failed:
        await connect(server.url, retries=PATIENT).generate("x")
    assert failed.value.received.text == "".join(WORDS[:3])
    assert len(server.requests) == 1


async def test_it_can_be_switched_off(server: Any, connect: Any) -> None:
    server.behaviours = [engine(until=3, cut=reset)]
    with pytest.raises(IncompleteError, match="switched off"):
        await connect(server.url, retries=RetryPolicy(max_resumes=0)).generate("x")
    assert not server.requests[0].resumable


async def test_an_error_of_the_request_itself_is_no_cut(server: Any, connect: Any, behaviours: Any) -> None:
    server.behaviours = [
        engine(
            until=2,
            cut=lambda context: behaviours.refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXHAUSTED"),
        )
    ]
    with pytest.raises(BudgetExhausted):
        await connect(server.url, retries=PATIENT).generate("x")


async def test_leaving_a_stream_continues_nothing(server: Any, connect: Any) -> None:
    def endless(request: Any, context: grpc.ServicerContext) -> Any:
        yield from engine(until=2)(request, context)
        assert server.gone.wait(10)

    server.behaviours = [endless]
    assert await connect(server.url, retries=PATIENT).first_text_then_leave("x") == WORDS[0]
    assert server.gone.wait(10)
    assert len(server.requests) == 1


def test_a_policy_cannot_resume_less_than_never() -> None:
    with pytest.raises(ValueError, match="invalid max_resumes -1"):
        RetryPolicy(max_resumes=-1)
