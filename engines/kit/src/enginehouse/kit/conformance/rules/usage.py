"""Usage: each call is reported until a router has acknowledged it, and watermarks say how far everything is."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from enginehouse.api.common.v1.usage_pb2 import Usage
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.conformance._doubles import Answering
from enginehouse.kit.conformance._examples import RequestExample, invalid_request
from enginehouse.kit.conformance._rule import Failed, Inapplicable, Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session, amounts_of, named
from enginehouse.kit.errors import Reason
from enginehouse.kit.grants import sign
from enginehouse.kit.pricing import UNIT_NAMES, unit_of

FAMILY = RuleFamily("usage")
rule = FAMILY.rule

_USAGE = "enginehouse.api.common.v1.Usage"
# The router reads a watermark as at most a few seconds old.
_WATERMARK_S = 5.0
_ACCEPT_WINDOW_S = 30.0
# A grant of this age can still be used, and an engine that forgets it promises too much soon.
_OLD_S = 28.0


@rule(
    "reported",
    "Each call is reported",
    "An answered call is reported once, with the grant as it came, the engine, the model, when it began and ended, and "
    "OUTCOME_COMPLETED.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.ROUTER,
)
async def _reported(session: Session) -> None:
    for example in session.examples:
        began_ms = time.time_ns() // 1_000_000
        token = session.example_token(example)
        await session.answer(example, token=token)
        record = await session.record(token)
        ended_ms = time.time_ns() // 1_000_000
        name = example.method.name
        expect(record.engine_id, f"the record of {name} has no engine_id")
        model = example.models[0] if example.models else ""
        expect(record.model == model, f"the record of {name} names the model {record.model!r}; {model!r} answered")
        outcome = usage_pb2.Outcome.Name(record.outcome)
        expect(record.outcome == usage_pb2.OUTCOME_COMPLETED, f"{name} was answered whole and is reported as {outcome}")
        started, ended = record.started_at_ms, record.ended_at_ms
        slack_ms = 2000
        expect(
            began_ms - slack_ms <= started <= ended <= ended_ms + slack_ms,
            f"the record of {name} says that the call ran from {started} to {ended}; it was between {began_ms} and "
            f"{ended_ms} (milliseconds since 1970 UTC)",
        )
        expect(
            0 <= record.time_to_first_token_ms <= ended - started + slack_ms,
            f"the record of {name} says {record.time_to_first_token_ms} ms to the first output",
        )
        await asyncio.sleep(0.1)
        count = len(session.router.records_of(token))
        expect(count == 1, f"{name} was reported {count} times although the first report was acknowledged")


@rule(
    "units",
    "Units that can be settled",
    "Each amount of a record is of another unit: one of Unit, or one whose name the method's options declare.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _units(session: Session) -> None:
    for example in session.paid:
        _, record = await session.sample(example)
        for entry in record.usage.units:
            where = f"an amount of {example.method.name}"
            expect(bool(entry.unit) != bool(entry.name), f"{where} must have either a unit or a name")
            expect(not entry.unit or entry.unit in UNIT_NAMES, f"{where} has the unknown unit {entry.unit}")
            expect(
                not entry.name or entry.name in example.method.unit_names,
                f"{where} has the unit {entry.name!r}, which the method's options do not declare",
            )
        units = [unit_of(entry) for entry in record.usage.units]
        expect(len(units) == len(set(units)), f"a record of {example.method.name} has two amounts of one unit")


@rule(
    "told",
    "The answer tells its usage",
    "Where the last message of an answer has a Usage, it is the reported one.",
    Need.KEYS,
    Need.PAID_EXAMPLE,
    Need.ROUTER,
)
async def _told(session: Session) -> None:
    found = False
    for example in session.paid:
        ended, record = await session.sample(example)
        last = example.method.parse_response(ended.messages[-1]) if ended.messages else None
        for usage in _usages(last):
            found = True
            told = usage_pb2.UsageRecord(usage=Usage.FromString(usage.SerializeToString()))
            expect(
                amounts_of(told) == amounts_of(record) and told.usage.cost_nanos == record.usage.cost_nanos,
                f"{example.method.name} tells {named(amounts_of(told))} for {told.usage.cost_nanos} nano-dollars; "
                f"{named(amounts_of(record))} for {record.usage.cost_nanos} are reported",
            )
    if not found:
        raise Inapplicable("no answer carries a Usage")


def _usages(message: Any) -> list[Any]:
    """Every Usage in a message, at any depth."""
    found: list[Any] = []
    for field, value in message.ListFields() if message is not None else ():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for inner in value if field.is_repeated else [value]:
            found += [inner] if field.message_type.full_name == _USAGE else _usages(inner)
    return found


@rule(
    "failed",
    "Failures are reported",
    "A call that is refused after its grant was accepted is reported with OUTCOME_FAILED, which frees its money.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.ROUTER,
)
async def _failed(session: Session) -> None:
    for example in session.examples:
        token = session.example_token(example)
        ended = await session.call(example.method, invalid_request(example), token=token)
        if ended.reason != Reason.INVALID_REQUEST.value:
            continue
        record = await session.record(token)
        outcome = usage_pb2.Outcome.Name(record.outcome)
        expect(
            record.outcome == usage_pb2.OUTCOME_FAILED,
            f"an invalid request of {example.method.name} is reported as {outcome}; expected OUTCOME_FAILED",
        )
        return
    raise Inapplicable("no invalid request is known that the engine refuses; give an invalid_request")


@rule(
    "repeated",
    "Repeated until acknowledged",
    "A record that is not acknowledged is sent again after the stream breaks, until it is.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.ROUTER,
)
async def _repeated(session: Session) -> None:
    example, router = session.examples[0], session.router
    router.answering = Answering.NOT
    token = session.example_token(example)
    await session.answer(example, token=token)
    first = await session.record(token)
    for _ in range(2):
        router.received.clear()
        await session.break_router_streams()
        await session.wait_for(
            lambda: router.records_of(token),
            f"an unacknowledged record is not sent again within {session.patience_s:g} s after the stream broke",
        )
        expect(router.records_of(token)[-1] == first, "a record is sent again with other contents")
    router.answering = Answering.SETTLED
    await session.break_router_streams()
    await session.wait_for(lambda: token in router.settled, "the record is not sent a fourth time")


@rule(
    "acknowledged",
    "Acknowledged once",
    "A record that was acknowledged, as settled or as settled before, is not sent again.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.ROUTER,
)
async def _acknowledged(session: Session) -> None:
    for answering in (Answering.SETTLED, Answering.ALREADY_SETTLED):
        session.router.answering = answering
        await _expect_silence_after(session, session.examples[0], f"acknowledged as {answering.value}")
    session.router.answering = Answering.SETTLED


@rule(
    "rejected",
    "Rejected once",
    "A record that the router rejects is dropped: it can never be settled.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.ROUTER,
)
async def _rejected(session: Session) -> None:
    session.router.answering = Answering.REJECTED
    await _expect_silence_after(session, session.examples[0], "rejected")
    session.router.answering = Answering.SETTLED


async def _expect_silence_after(session: Session, example: RequestExample, answer: str) -> None:
    token = session.example_token(example)
    await session.answer(example, token=token)
    await session.record(token)
    # The acknowledgement is on its way.
    await asyncio.sleep(0.2)
    count = len(session.router.records_of(token))
    await session.break_router_streams()
    await session.wait_for_report()
    await asyncio.sleep(0.2)
    again = len(session.router.records_of(token)) - count
    expect(not again, f"a record that was {answer} was sent again when the engine reconnected")


@rule(
    "outage",
    "The router is away",
    "While no router can be reached, calls are served, and their records come when one is back.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.ROUTER,
)
async def _outage(session: Session) -> None:
    assert session.router_server is not None
    example = session.examples[0]
    await session.router_server.stop()
    try:
        tokens = [session.example_token(example) for _ in range(3)]
        for token in tokens:
            await session.answer(example, token=token)
    finally:
        await session.router_server.start()
    for token in tokens:
        await session.record(token)


@rule(
    "watermark",
    "Watermarks",
    "The engine sends a watermark at least every five seconds: its engine_id, its clock, and a time that never goes "
    "back and is at least the accept window of 30 s ago.",
    Need.ROUTER,
)
async def _watermark(session: Session) -> None:
    router = session.router
    known = len(router.watermarks)
    await session.wait_for(
        lambda: len(router.watermarks) >= known + 2,
        f"fewer than two watermarks came within {2 * _WATERMARK_S:g} s",
        timeout_s=2 * _WATERMARK_S if session.patience_s >= 2 * _WATERMARK_S else session.patience_s,
    )
    now_ms = time.time_ns() // 1_000_000
    ids = {watermark.engine_id for watermark in router.watermarks}
    expect(ids and "" not in ids, "a watermark has no engine_id")
    last = router.watermarks[-1]
    reported = {record.engine_id for record in router.received}
    expect(
        not reported or last.engine_id in reported,
        f"the watermark is of engine {last.engine_id!r}; records are of {', '.join(map(repr, sorted(reported)))}",
    )
    skew_ms = last.engine_time_ms - now_ms
    expect(abs(skew_ms) < 10_000, f"engine_time_ms is {skew_ms} ms off the suite's clock")
    oldest_ms = last.engine_time_ms - _ACCEPT_WINDOW_S * 1000
    expect(
        last.issued_before_ms <= oldest_ms + 1000,
        f"the watermark is {(last.engine_time_ms - last.issued_before_ms) / 1000:.1f} s ago; a grant may be "
        f"{_ACCEPT_WINDOW_S:g} s old when it is used, and would be reported after the promise",
    )
    times = [mark.issued_before_ms for mark in router.watermarks if mark.engine_id == last.engine_id]
    expect(times == sorted(times), "a watermark goes back")


@rule(
    "watermark_holds",
    "A watermark keeps its promise",
    "While a grant's record is not acknowledged the watermark stays at or before the grant's issue; then it goes on.",
    Need.KEYS,
    Need.EXAMPLE,
    Need.ROUTER,
)
async def _watermark_holds(session: Session) -> None:
    example, router = session.examples[0], session.router
    router.answering = Answering.NOT
    grant = session.grant(example.method, models=example.models, issued_ago_s=_OLD_S)
    token = sign(grant, keys=session.keys)
    await session.answer(example, token=token)
    await session.record(token)
    known = len(router.watermarks)
    until = time.monotonic() + _ACCEPT_WINDOW_S - _OLD_S + 1.5
    while time.monotonic() < until:
        for mark in router.watermarks[known:]:
            if mark.issued_before_ms > grant.issued_at_ms:
                past_ms = mark.issued_before_ms - grant.issued_at_ms
                raise Failed(f"a watermark is {past_ms} ms past the issue of a grant whose record is not acknowledged")
        await asyncio.sleep(0.05)
    expect(len(router.watermarks) > known, "no watermark came while a record was not acknowledged")
    router.answering = Answering.SETTLED
    await session.break_router_streams()
    await session.wait_for(lambda: token in router.settled, "an unacknowledged record is not sent again")
    await session.wait_for(
        lambda: router.watermarks[-1].issued_before_ms > grant.issued_at_ms,
        "the watermark does not go on after the record was acknowledged",
        timeout_s=max(session.patience_s, _WATERMARK_S),
    )
