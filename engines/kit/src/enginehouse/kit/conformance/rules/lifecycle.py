"""The process: it ends in order when it is told to, and loses nothing when it is killed."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import time

import grpc

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.conformance._calls import CallEnd, RunningCall
from enginehouse.kit.conformance._doubles import Answering
from enginehouse.kit.conformance._rule import Failed, Inapplicable, Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session, amounts_of, expect_cost, expect_refusal
from enginehouse.kit.conformance.rules.discovery import health
from enginehouse.kit.errors import Reason

CRASH = RuleFamily("crash", scenario="crash")
DRAIN = RuleFamily("drain", scenario="drain")

# Long enough for the restart of an engine with its models; a grant can be used for 30 s at most.
_ACCEPT_S = 28.0
_EXIT_S = 15.0
# An engine that still serves new calls so long after SIGTERM does not refuse them.
_REFUSES_WITHIN_S = 1.5
_PROBE_S = 0.05
_MAX_PROBES = 20


@dataclasses.dataclass(frozen=True, slots=True)
class _Crash:
    """An engine was killed while it answered one call and had another's record unacknowledged, and started again."""

    running_token: str
    received: int
    pending_token: str
    before: usage_pb2.UsageRecord
    replays: dict[str, CallEnd]


async def _crash(session: Session) -> _Crash:
    example, router = session.stream, session.router
    router.answering = Answering.NOT
    pending_token = session.example_token(example, accept_s=_ACCEPT_S)
    await session.answer(example, token=pending_token)
    before = await session.record(pending_token)
    running_token = session.example_token(example, accept_s=_ACCEPT_S)
    running = await _begin(session, running_token)
    session.engine.signal(signal.SIGKILL)
    await session.engine.wait(timeout_s=_EXIT_S)
    ended = await running.end()
    if ended.ok:
        raise Inapplicable(f"{example.method.name} ended before the engine was killed; give a longer long_request")
    if session.router.records_of(running_token):
        raise Inapplicable("the call was reported before the engine was killed; give a longer long_request")
    router.received.clear()
    router.answering = Answering.SETTLED
    await session.engine.start()
    replays = {
        case: await session.call(example.method, example.messages, token=token)
        for case, token in {"running": running_token, "pending": pending_token}.items()
    }
    return _Crash(running_token, len(ended.messages), pending_token, before, replays)


async def _begin(session: Session, token: str) -> RunningCall:
    """Begin the long call and wait for its first message."""
    example = session.stream
    running = await session.begin(example, token=token)
    if await running.read() is None:
        raise Failed(f"the long request of {example.method.name} is not answered: {await running.end()}")
    return running


@CRASH.rule(
    "reported",
    "Killed while it served",
    "A call that kill -9 cut off is reported once after the restart, with OUTCOME_CRASHED, the units that were counted "
    "before they were sent, and their cost.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _crash_reported(session: Session) -> None:
    crash = await session.scenario("crash", _crash)
    record = await session.record(crash.running_token)
    outcome = usage_pb2.Outcome.Name(record.outcome)
    expect(
        record.outcome == usage_pb2.OUTCOME_CRASHED, f"the cut call is reported as {outcome}; expected OUTCOME_CRASHED"
    )
    expect(record.model == session.stream.models[0], f"the cut call's record names the model {record.model!r}")
    expect(
        amounts_of(record),
        f"the cut call is reported without any unit, although {crash.received} messages had come: what is sent must be "
        "counted on disk or in a mapped file before",
    )
    expect_cost(record, session.prices)
    await asyncio.sleep(0.3)
    count = len(session.router.records_of(crash.running_token))
    expect(count == 1, f"the cut call is reported {count} times although the first report was acknowledged")


@CRASH.rule(
    "pending",
    "Records survive",
    "A record that was not acknowledged before kill -9 is sent after the restart, the same as before.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _crash_pending(session: Session) -> None:
    crash = await session.scenario("crash", _crash)
    record = await session.record(crash.pending_token)
    expect(record == crash.before, "a record that was not acknowledged before kill -9 comes again with other contents")


@CRASH.rule(
    "replayed",
    "Grants stay used",
    "A grant that was used before kill -9 is refused with GRANT_REPLAYED after the restart.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _crash_replayed(session: Session) -> None:
    crash = await session.scenario("crash", _crash)
    for case, ended in crash.replays.items():
        if ended.reason == Reason.GRANT_EXPIRED.value:
            raise Inapplicable(f"the engine's restart took longer than a grant can be used ({_ACCEPT_S:g} s)")
        expect_refusal(ended, Reason.GRANT_REPLAYED, f"the grant of the {case} call, after a restart,")


@dataclasses.dataclass(frozen=True, slots=True)
class _Drain:
    """An engine was told to end while it answered a call."""

    token: str
    deregistered: bool | None
    refusals: list[CallEnd]
    health: tuple[grpc.StatusCode, str]
    end: CallEnd
    exit_status: int | None
    exit_s: float


async def _drain(session: Session) -> _Drain:
    example, gateway = session.stream, session.gateway
    token = session.example_token(example)
    running = await _begin(session, token)
    if session.gateway_server is not None:
        await session.wait_for(lambda: session.registration, "the engine is not registered")
    session.engine.signal(signal.SIGTERM)
    told = time.monotonic()
    reading = asyncio.create_task(running.end())
    refusals: list[CallEnd] = []
    deregistered: bool | None = None
    # Several at once: one that is accepted before the engine drains may have to wait for the call that runs.
    probes: set[asyncio.Task[CallEnd]] = set()
    while not refusals and not reading.done():
        if len(probes) < _MAX_PROBES:
            token_of_probe = session.example_token(example)
            probes.add(asyncio.create_task(session.call(example.method, example.messages, token=token_of_probe)))
        await asyncio.sleep(_PROBE_S)
        for probe in [probe for probe in probes if probe.done()]:
            probes.discard(probe)
            ended = probe.result()
            # What is refused after the last call's end says nothing of the time before.
            if not ended.ok and ended.reason != Reason.ENGINE_BUSY.value and not reading.done():
                refusals.append(ended)
        if refusals and session.gateway_server is not None:
            deregistered = not gateway.live
    said = await health(session, "") if refusals else (grpc.StatusCode.OK, "")
    if not refusals and time.monotonic() - told < _REFUSES_WITHIN_S:
        raise Inapplicable(f"{example.method.name} ended before new calls were refused; give a longer long_request")
    end = await reading
    await asyncio.gather(*probes, return_exceptions=True)
    began = time.monotonic()
    status = await session.engine.wait(timeout_s=_EXIT_S)
    seconds = time.monotonic() - began
    if status is None:
        session.engine.signal(signal.SIGKILL)
        await session.engine.wait(timeout_s=_EXIT_S)
    return _Drain(token, deregistered, refusals, said, end, status, seconds)


@DRAIN.rule(
    "deregisters",
    "It leaves first",
    "On SIGTERM the engine ends its lease before it refuses calls, so that nobody is sent to it any more.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
    Need.GATEWAY,
)
async def _drain_deregisters(session: Session) -> None:
    drain = await session.scenario("drain", _drain)
    expect(drain.refusals, "after SIGTERM new calls are served until the running one ends")
    expect(drain.deregistered, "new calls are refused while the engine still holds its lease")


@DRAIN.rule(
    "refuses",
    "It takes nothing new",
    "While the engine drains it refuses new calls with ENGINE_DRAINING.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
)
async def _drain_refuses(session: Session) -> None:
    drain = await session.scenario("drain", _drain)
    expect(drain.refusals, "after SIGTERM new calls are served until the running one ends")
    expect_refusal(drain.refusals[0], Reason.ENGINE_DRAINING, "a new call while the engine drains")


@DRAIN.rule(
    "health",
    "It says so",
    "While the engine drains its health is NOT_SERVING.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
)
async def _drain_health(session: Session) -> None:
    drain = await session.scenario("drain", _drain)
    code, status = drain.health
    expect(drain.refusals, "after SIGTERM new calls are served until the running one ends")
    expect(status == "NOT_SERVING", f"while the engine drains its health is {status or code.name}")


@DRAIN.rule(
    "finishes",
    "It finishes what runs",
    "A call that runs when SIGTERM comes is answered whole.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
)
async def _drain_finishes(session: Session) -> None:
    drain = await session.scenario("drain", _drain)
    expect(drain.end.ok, f"a call that ran when SIGTERM came ends with {drain.end}")


@DRAIN.rule(
    "exits",
    "It ends, and has reported",
    "Once its calls have ended the engine reports their usage and exits with status 0.",
    Need.PROCESS,
    Need.KEYS,
    Need.STREAM,
    Need.ROUTER,
)
async def _drain_exits(session: Session) -> None:
    drain = await session.scenario("drain", _drain)
    expect(drain.exit_status is not None, f"the engine still runs {_EXIT_S:g} s after its last call ended")
    expect(drain.exit_status == 0, f"the engine exits with status {drain.exit_status} after SIGTERM; expected 0")
    records = session.router.records_of(drain.token)
    expect(records, "the engine exits before it has reported its last call")
    expect(
        records[0].outcome == usage_pb2.OUTCOME_COMPLETED,
        f"the last call is reported as {usage_pb2.Outcome.Name(records[0].outcome)}",
    )
