"""Ends before the end: the caller leaves, its deadline passes, the grant expires."""

from __future__ import annotations

import time

import grpc

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.conformance._rule import Failed, Inapplicable, Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session, amounts_of, expect_cost, named
from enginehouse.kit.errors import Reason

FAMILY = RuleFamily("end")
rule = FAMILY.rule

# An expired grant's call may wind up for a second, and machines that run tests are slow.
_GRACE_S = 4.0
_MIN_LENGTH_S = 0.2


@rule(
    "cancelled",
    "The caller leaves",
    "A call that its caller cancels stops at once and is reported with OUTCOME_CANCELLED and what was spent by then.",
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _cancelled(session: Session) -> None:
    example = session.stream
    await _length_s(session)
    token = session.example_token(example)
    running = await session.begin(example, token=token)
    if await running.read() is None:
        raise Failed(f"the long request of {example.method.name} is not answered: {await running.end()}")
    running.cancel()
    record = await session.record(token)
    _expect_outcome(record, usage_pb2.OUTCOME_CANCELLED, "a call that was cancelled while it streamed")
    expect(amounts_of(record), "a call that was cancelled after its first message is reported without any unit")
    expect_cost(record, session.prices)


@rule(
    "deadline",
    "The caller's deadline",
    "A call whose deadline passes stops and is reported with OUTCOME_CANCELLED.",
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _deadline(session: Session) -> None:
    example = session.stream
    seconds = await _length_s(session)
    token = session.example_token(example)
    running = await session.begin(example, token=token, timeout_s=seconds * 0.4)
    ended = await running.end()
    if ended.ok:
        raise Inapplicable(f"{example.method.name} was answered within its deadline; give a longer long_request")
    expect(ended.code is grpc.StatusCode.DEADLINE_EXCEEDED, f"a call whose deadline passed ends with {ended}")
    record = await session.record(token)
    _expect_outcome(record, usage_pb2.OUTCOME_CANCELLED, "a call whose deadline passed")
    expect_cost(record, session.prices)


@rule(
    "expired",
    "The grant's end",
    "Nothing is spent after a grant's expires_at_ms: the answer ends within a second or two, with OK or "
    "DEADLINE_EXCEEDED, and is reported with OUTCOME_CAPPED.",
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _expired(session: Session) -> None:
    example = session.stream
    seconds = await _length_s(session)
    whole = session.whole_amounts
    left_s = seconds * 0.4
    token = session.example_token(example, expires_s=left_s)
    began = time.monotonic()
    running = await session.begin(example, token=token)
    ended = await running.end()
    over_s = time.monotonic() - began - left_s
    record = await session.record(token)
    if ended.ok and record.outcome == usage_pb2.OUTCOME_COMPLETED and over_s < 0:
        raise Inapplicable(f"{example.method.name} was answered before its grant expired; give a longer long_request")
    expect(
        ended.ok or ended.reason == Reason.DEADLINE_EXCEEDED.value,
        f"a call whose grant expired ends with {ended}; expected OK or DEADLINE_EXCEEDED",
    )
    expect(over_s < _GRACE_S, f"a call went on for {over_s:.1f} s after its grant had expired")
    _expect_outcome(record, usage_pb2.OUTCOME_CAPPED, "a call whose grant expired")
    spent = amounts_of(record)
    expect(
        any(amount < whole.get(unit, 0) for unit, amount in spent.items()) or not spent,
        f"a call whose grant expired spent all of the answer: {named(spent)}",
    )
    expect_cost(record, session.prices)


async def _length_s(session: Session) -> float:
    """The seconds that the long answer takes when nothing interrupts it."""

    async def measure(session: Session) -> float:
        example = session.stream
        token = session.example_token(example)
        began = time.monotonic()
        ended = await (await session.begin(example, token=token)).end()
        expect(ended.ok, f"the long request of {example.method.name} is not answered: {ended}")
        seconds = time.monotonic() - began
        session.whole_amounts = amounts_of(await session.record(token))
        return seconds

    seconds = await session.scenario("length of the long answer", measure)
    if seconds < _MIN_LENGTH_S:
        name = session.stream.method.name
        raise Inapplicable(f"the long answer of {name} takes {seconds:.2f} s; give a longer long_request")
    return seconds


def _expect_outcome(record: usage_pb2.UsageRecord, outcome: usage_pb2.Outcome.ValueType, case: str) -> None:
    names = usage_pb2.Outcome
    expect(
        record.outcome == outcome,
        f"{case} is reported as {names.Name(record.outcome)}; expected {names.Name(outcome)}",
    )
