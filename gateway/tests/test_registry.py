"""Leases: who is let in, who is not, and when one ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.gateway.registry import Lease, LeaseEnd, Registry, check_engine, check_load
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.errors import Reason, ServiceError

CONTRACTS = load_contracts()
GENERATION = "enginehouse.api.inference.v1.GenerationService"


def engine(engine_id: str = "one", **fields: Any) -> registry_pb2.Engine:
    described: dict[str, Any] = {
        "cluster": "inference",
        "address": "127.0.0.1:9001",
        "grpc_services": [GENERATION],
        "capacity": 1,
        **fields,
    }
    return registry_pb2.Engine(engine_id=engine_id, **described)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ended() -> list[tuple[str, LeaseEnd]]:
    return []


@pytest.fixture
def registry(clock: Clock, ended: list[tuple[str, LeaseEnd]]) -> Registry:
    def note(lease: Lease, end: LeaseEnd) -> None:
        ended.append((lease.engine.engine_id, end))

    return Registry(contracts=CONTRACTS, lease_s=3, clock=clock, ended=note)


def pass_time(registry: Registry, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / 0.1)):
        clock.now += 0.1
        registry.sweep(every_s=0.1)


def join(registry: Registry, described: registry_pb2.Engine, **load: Any) -> Lease:
    return registry.register(described, registry_pb2.Load(**load))


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("engine.engine_id", {"engine_id": ""}),
        ("engine.engine_id", {"engine_id": "x" * 65}),
        ("engine.engine_id", {"engine_id": "a b"}),
        ("engine.cluster", {"cluster": "Inference"}),
        ("engine.cluster", {"cluster": "enginehouse_router"}),
        ("engine.cluster", {"cluster": "-x"}),
        ("engine.address", {"address": "localhost:9001"}),
        ("engine.address", {"address": "127.0.0.1"}),
        ("engine.address", {"address": "127.0.0.1:0"}),
        ("engine.address", {"address": "0.0.0.0:9001"}),
        ("engine.address", {"address": "127.0.0.1:99999"}),
        ("engine.grpc_services", {"grpc_services": []}),
        ("engine.grpc_services", {"grpc_services": [GENERATION, GENERATION]}),
        ("engine.grpc_services[0]", {"grpc_services": ["NoPackage"]}),
        ("engine.grpc_services[0]", {"grpc_services": ["a.B/C"]}),
        ("engine.grpc_services[0]", {"grpc_services": ["enginehouse.api.router.v1.UsageService"]}),
        ("engine.grpc_services[1]", {"grpc_services": [GENERATION, "enginehouse.api.gateway.v1.RegistryService"]}),
        ("engine.grpc_services[0]", {"grpc_services": ["grpc.health.v1.Health"]}),
        ("engine.grpc_services[0]", {"grpc_services": ["envoy.service.discovery.v3.AggregatedDiscoveryService"]}),
        ("engine.grpc_services[0]", {"grpc_services": ["enginehouse.api.router.v1.AdminService"]}),
        ("engine.grpc_services[0]", {"grpc_services": ["enginehouse.api.router.v9.LaterService"]}),
        ("engine.grpc_services[0]", {"grpc_services": ["enginehouse.api.openai.v1.ModelsService"]}),
        ("engine.models[0].name", {"models": [registry_pb2.ServedModel(name="")]}),
        ("engine.models", {"models": [registry_pb2.ServedModel(name="m"), registry_pb2.ServedModel(name="m")]}),
        ("engine.capacity", {"capacity": -1}),
    ],
)
def test_a_description_that_cannot_be_routed_is_refused(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        check_engine(engine(**fields), contracts=CONTRACTS)
    assert caught.value.reason is Reason.INVALID_REQUEST
    assert [violation.field for violation in caught.value.violations] == [field]
    assert field in caught.value.message


def test_what_can_be_routed_is_taken() -> None:
    check_engine(engine(address="[::1]:9001", engine_id="a.b-C_9"), contracts=CONTRACTS)
    routers = ["enginehouse.api.router.v1.AdminService", "enginehouse.api.openai.v1.ModelsService"]
    check_engine(engine(cluster="router", grpc_services=routers), contracts=CONTRACTS)


def test_another_machines_loopback_is_refused() -> None:
    check_engine(engine(), contracts=CONTRACTS, peer="ipv4:127.0.0.1:55555")
    check_engine(engine(), contracts=CONTRACTS, peer="ipv6:%5B::1%5D:55555")
    check_engine(engine(address="10.0.0.7:9001"), contracts=CONTRACTS, peer="ipv4:10.0.0.7:55555")
    with pytest.raises(ServiceError, match="is loopback"):
        check_engine(engine(), contracts=CONTRACTS, peer="ipv4:10.0.0.7:55555")


@pytest.mark.parametrize(
    "load",
    [
        {"active": -1},
        {"queued": -1},
        {"kv_cache_used": 1.5},
        {"kv_cache_used": float("nan")},
        {"tallies": [{"model": "tiny", "failed": -1}]},
    ],
)
def test_a_load_that_cannot_be_true_is_refused(load: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        check_load(registry_pb2.Load(**load))
    assert caught.value.violations[0].field == f"load.{next(iter(load))}"


async def test_a_second_engine_under_a_live_id_is_refused(registry: Registry, ended: Any) -> None:
    first = join(registry, engine())
    with pytest.raises(ServiceError, match=r"is live at 127\.0\.0\.1:9001") as caught:
        join(registry, engine(address="127.0.0.1:9002"))
    assert caught.value.reason is Reason.ALREADY_EXISTS
    assert first.end is None
    registry.release(first)
    join(registry, engine(address="127.0.0.1:9002"))
    assert ended == [("one", LeaseEnd.RELEASED)]


async def test_at_one_address_the_newest_wins(registry: Registry, ended: Any) -> None:
    first = join(registry, engine())
    join(registry, engine())
    assert first.end is LeaseEnd.REPLACED
    assert first.ended.is_set()
    third = join(registry, engine("other-name"))
    assert [live.engine.engine_id for live in registry.live()] == ["other-name"]
    registry.release(first)  # Its stream ends later, and must not take the newest along.
    assert third.end is None
    assert len(registry.live()) == 1
    assert ended == [("one", LeaseEnd.REPLACED), ("one", LeaseEnd.REPLACED)]


async def test_one_service_lives_in_one_cluster(registry: Registry) -> None:
    first = join(registry, engine())
    with pytest.raises(ServiceError, match="one service lives in one cluster") as caught:
        join(registry, engine("two", cluster="voice", address="127.0.0.1:9002"))
    assert caught.value.reason is Reason.FAILED_PRECONDITION
    registry.release(first)
    join(registry, engine("two", cluster="voice", address="127.0.0.1:9002"))
    assert registry.services() == {GENERATION: "voice"}


async def test_a_lease_lapses_without_a_sign_of_life(registry: Registry, clock: Clock, ended: Any) -> None:
    silent = join(registry, engine())
    lively = join(registry, engine("two", address="127.0.0.1:9002"))
    pass_time(registry, clock, 2.9)
    assert len(registry.live()) == 2
    registry.renew(lively, registry_pb2.Load())
    pass_time(registry, clock, 0.2)
    assert [live.engine.engine_id for live in registry.live()] == ["two"]
    assert silent.end is LeaseEnd.LAPSED
    registry.renew(silent, registry_pb2.Load(active=1))  # Too late: it must register again.
    assert len(registry.live()) == 1
    assert ended == [("one", LeaseEnd.LAPSED)]


async def test_time_in_which_the_registry_stood_still_is_not_the_engines(registry: Registry, clock: Clock) -> None:
    lease = join(registry, engine())
    clock.now += 60
    registry.sweep(every_s=0.1)
    assert lease.end is None
    pass_time(registry, clock, 3.2)
    assert lease.end is LeaseEnd.LAPSED


async def test_load_moves_one_counter_and_membership_the_other(registry: Registry) -> None:
    lease = join(registry, engine())
    membership, load = registry.membership.value, registry.load.value
    registry.renew(lease, registry_pb2.Load(active=3))
    registry.renew(lease, registry_pb2.Load(active=3))
    assert (registry.membership.value, registry.load.value) == (membership, load + 1)
    registry.renew(lease, registry_pb2.Load(active=3, draining=True))
    assert (registry.membership.value, registry.load.value) == (membership + 1, load + 1)
    assert registry.live()[0].load.active == 3


async def test_who_waits_for_a_revision_misses_none(registry: Registry) -> None:
    seen = registry.membership.value
    waiting = asyncio.create_task(registry.membership.after(seen))
    await asyncio.sleep(0)
    join(registry, engine())
    assert await waiting == seen + 1
    assert await registry.membership.after(seen) == seen + 1


async def test_restored_engines_have_a_grace_period(registry: Registry, clock: Clock, ended: Any) -> None:
    join(registry, engine())
    join(registry, engine("two", address="127.0.0.1:9002"))
    after = Registry(
        contracts=CONTRACTS,
        lease_s=3,
        clock=clock,
        ended=lambda lease, end: ended.append((lease.engine.engine_id, end)),
    )
    after.restore(registry.state(), grace_s=5)
    assert [live.engine.engine_id for live in after.live()] == ["one", "two"]
    assert after.services() == {GENERATION: "inference"}
    join(after, engine(address="127.0.0.1:9003"))  # Back, on another port.
    for _ in range(60):
        for lease in after.leases():
            if not lease.restored:
                after.renew(lease, registry_pb2.Load())
        pass_time(after, clock, 0.1)
    assert [live.engine.address for live in after.live()] == ["127.0.0.1:9003"]
    assert ended == [("one", LeaseEnd.REPLACED), ("two", LeaseEnd.NOT_BACK)]
    assert after.services() == {GENERATION: "inference"}
