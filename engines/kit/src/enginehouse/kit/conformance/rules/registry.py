"""The registry: the engine holds a lease, describes itself, and tells how busy it is."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import re
import time

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.kit.conformance._examples import invalid_request
from enginehouse.kit.conformance._rule import Failed, Inapplicable, Need, RuleFamily, expect
from enginehouse.kit.conformance._session import Session
from enginehouse.kit.errors import Reason

FAMILY = RuleFamily("registry")
rule = FAMILY.rule

_ENGINE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CLUSTER = re.compile(r"[a-z0-9-]+")
_NOT_FOR_CLIENTS = ("grpc.health.", "grpc.reflection.")


async def _registered(session: Session) -> registry_pb2.Engine:
    return await session.wait_for(
        lambda: session.registration, f"the engine does not register within {session.patience_s:g} s"
    )


@rule(
    "registers",
    "Registration",
    "The engine registers with a well-formed engine_id, cluster and address, the address being a literal IP address at "
    "which it serves, and with a capacity of 1 or more.",
    Need.GATEWAY,
)
async def _registers(session: Session) -> None:
    engine = await _registered(session)
    expect(
        _ENGINE_ID.fullmatch(engine.engine_id),
        f"engine_id {engine.engine_id!r} must be 1-64 characters of [A-Za-z0-9_.-]",
    )
    expect(_CLUSTER.fullmatch(engine.cluster), f"cluster {engine.cluster!r} must be of [a-z0-9-]")
    host, _, port = engine.address.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise Failed(f"address {engine.address!r} must be a literal IP address and a port") from None
    expected = session.engine.target.rpartition(":")[2]
    expect(
        port == expected, f"address {engine.address!r} has port {port}; the engine serves at {session.engine.target}"
    )
    expect(engine.capacity >= 1, f"capacity {engine.capacity} must be at least 1")


@rule(
    "services",
    "Registered services",
    "The registration lists the services for clients, and neither health nor reflection.",
    Need.GATEWAY,
)
async def _services(session: Session) -> None:
    engine = await _registered(session)
    for service in session.options.services:
        expect(service in engine.grpc_services, f"the registration does not list {service}")
    for service in engine.grpc_services:
        expect(not service.startswith(_NOT_FOR_CLIENTS), f"the registration lists {service}, which is not for clients")
    expect(
        len(set(engine.grpc_services)) == len(engine.grpc_services), "the registration lists a service several times"
    )


@rule(
    "models",
    "Registered models",
    "The registration lists each model that the engine serves, once.",
    Need.GATEWAY,
)
async def _models(session: Session) -> None:
    engine = await _registered(session)
    names = [model.name for model in engine.models]
    expect("" not in names, "the registration lists a model without a name")
    expect(len(set(names)) == len(names), "the registration lists a model several times")
    for example in session.paid:
        for model in example.models:
            expect(model in names, f"{model!r} answers {example.method.name}, and the registration does not list it")


@rule(
    "load",
    "Load reports",
    "While it is registered the engine reports its load on the same stream, never further apart than the lease; one "
    "report each third of the lease is right.",
    Need.GATEWAY,
)
async def _load(session: Session) -> None:
    gateway = session.gateway
    await _registered(session)
    streams, began = len(gateway.first_requests), time.monotonic()
    lease_s = gateway.lease_seconds
    await asyncio.sleep(1.5 * lease_s)
    expect(len(gateway.first_requests) == streams, "the engine opened another stream instead of reporting on the first")
    times = [began, *(when for when, _ in gateway.reports if when > began), time.monotonic()]
    longest = max(later - earlier for earlier, later in itertools.pairwise(times))
    expect(longest <= lease_s, f"no load report came for {longest:.1f} s; the lease is {lease_s} s")


@rule(
    "busy",
    "Live load",
    "A running call shows in the reported load, and no longer when it has ended.",
    Need.GATEWAY,
    Need.KEYS,
    Need.STREAM,
)
async def _busy(session: Session) -> None:
    gateway, example = session.gateway, session.stream
    await _registered(session)
    known = len(gateway.reports)

    def busy() -> bool:
        return any(load.active or load.queued for _, load in gateway.reports[known:])

    until = time.monotonic() + max(session.patience_s, 2 * gateway.lease_seconds)
    while not busy():
        if time.monotonic() >= until:
            raise Failed("calls run, and no load report says so")
        running = await session.begin(example, token=session.example_token(example))
        while not busy() and await running.read() is not None:
            pass
        running.cancel()
    await session.wait_for(
        lambda: not gateway.reports[-1][1].active,
        "the load reports go on to say that a call runs after all have ended",
        timeout_s=max(session.patience_s, 2 * gateway.lease_seconds),
    )


@rule(
    "tallies",
    "Answered and failed calls",
    "The load tells how calls ended for each model: an answered call counts as answered, and one that was refused "
    "through its own fault as neither.",
    Need.GATEWAY,
    Need.KEYS,
    Need.PAID_EXAMPLE,
)
async def _tallies(session: Session) -> None:
    gateway, example = session.gateway, session.paid[0]
    model = example.models[0]
    await _registered(session)
    within_s = max(session.patience_s, 2 * gateway.lease_seconds)

    def tally() -> registry_pb2.ModelTally:
        for entry in gateway.reports[-1][1].tallies if gateway.reports else ():
            if entry.model == model:
                return entry
        return registry_pb2.ModelTally()

    await session.answer(example)
    await asyncio.sleep(gateway.lease_seconds / 2)
    before = tally().answered
    await session.answer(example)
    await session.wait_for(
        lambda: tally().answered > before, f"an answered call of {model!r} is not tallied", timeout_s=within_s
    )
    failed = tally().failed
    token = session.example_token(example)
    ended = await session.call(example.method, invalid_request(example), token=token)
    if ended.reason == Reason.INVALID_REQUEST.value:
        reports = len(gateway.reports)
        await session.wait_for(lambda: len(gateway.reports) > reports + 1, "load reports stop", timeout_s=within_s)
        expect(tally().failed == failed, "an invalid request is tallied as a failure of the model")


@rule(
    "returns",
    "The gateway comes back",
    "When its stream breaks the engine registers again, with its whole description.",
    Need.GATEWAY,
)
async def _returns(session: Session) -> None:
    assert session.gateway_server is not None
    before = await _registered(session)
    streams = len(session.gateway.first_requests)
    await session.gateway_server.restart()
    await session.wait_for(
        lambda: len(session.gateway.first_requests) > streams,
        f"the engine does not register again within {session.patience_s:g} s after its stream broke",
    )
    after = session.gateway.first_requests[-1].engine
    if not after.engine_id:
        raise Failed("the engine opens another stream without describing itself in the first request")
    if after != before:
        raise Failed("the engine registers again with another description")


@rule(
    "silent",
    "A silent gateway",
    "When the gateway does not answer load reports for a lease, the engine takes the stream for broken and registers "
    "again.",
    Need.GATEWAY,
)
async def _silent(session: Session) -> None:
    gateway = session.gateway
    await _registered(session)
    if not gateway.first_requests:
        raise Inapplicable("the engine has not registered")
    streams = len(gateway.first_requests)
    gateway.answers = False
    try:
        await session.wait_for(
            lambda: len(gateway.first_requests) > streams,
            "the engine goes on with a gateway that has not answered for several leases",
            timeout_s=4.0 * gateway.lease_seconds,
        )
    finally:
        gateway.answers = True
        assert session.gateway_server is not None
        await session.gateway_server.restart()
