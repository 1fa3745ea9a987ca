"""Leases, one for each live engine. No gRPC here, no Envoy, and no clock but the one given."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.gateway.registry._rules import check_engine, check_load
from enginehouse.kit.addresses import parse_address
from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import Reason, ServiceError


class LeaseEnd(enum.Enum):
    """The reason why a lease ended."""

    RELEASED = "released"
    """The engine ended its stream, or its connection broke."""
    LAPSED = "lapsed"
    """Nothing was heard for the lease's length."""
    REPLACED = "replaced"
    """A newer registration took its place."""
    NOT_BACK = "not_back"
    """Restored after a restart of the gateway, and not heard of within the grace period."""


@dataclass(eq=False)
class Lease:
    """An engine's entry in the registry.

    Attributes:
        engine: its description.
        load: its latest load.
        expires_at: when it lapses, by the registry's clock.
        restored: known from before a restart only; its engine has not come back yet.
        end: the reason why it ended; None while it holds.
        ended: set when it ends.
    """

    engine: registry_pb2.Engine
    load: registry_pb2.Load
    expires_at: float
    restored: bool = False
    end: LeaseEnd | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, kw_only=True)
class RegistryState:
    """The registry's state that outlives a restart of the gateway.

    Attributes:
        engines: the engines that held leases, by id.
        services: the cluster of each gRPC service ever seen.
    """

    engines: Mapping[str, registry_pb2.Engine]
    services: Mapping[str, str]


class Revision:
    """A counter whose changes can be awaited."""

    def __init__(self) -> None:
        self.value = 0
        self._moved = asyncio.Event()

    def move(self) -> None:
        """Count a change and wake all waiters."""
        self.value += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def after(self, value: int) -> int:
        """Return the revision once it is past `value`."""
        while self.value <= value:
            await self._moved.wait()
        return self.value


class Registry:
    """All leases.

    Two engines never hold one id at a time. A second one under an id that another address holds is refused: taking the
    newest instead would let two misconfigured engines throw each other out for ever, while an engine that restarts on
    another port waits for its predecessor's lease to lapse at most. At the same address the newest wins, because only
    one process can listen there.

    Args:
        contracts: whose services engines may serve.
        lease_s: how long a lease outlives its last sign of life, in seconds.
        clock: monotonic seconds.
        ended: called for every lease that ends.
    """

    def __init__(
        self,
        *,
        contracts: Contracts,
        lease_s: float,
        clock: Callable[[], float],
        ended: Callable[[Lease, LeaseEnd], None] = lambda lease, end: None,
    ) -> None:
        self._contracts = contracts
        self.lease_s = lease_s
        self._clock = clock
        self._ended = ended
        self._leases: dict[str, Lease] = {}
        self._services: dict[str, str] = {}
        self._swept_at = clock()
        self.membership = Revision()
        """Moves when an engine comes, goes, begins to drain or stops to."""
        self.load = Revision()
        """Moves with every load report that differs from the last."""

    def restore(self, state: RegistryState, *, grace_s: float) -> None:
        """Restore the state of a former process; its engines have `grace_s` seconds to come back."""
        for engine in state.engines.values():
            self._leases[engine.engine_id] = Lease(
                engine=engine, load=registry_pb2.Load(), expires_at=self._clock() + grace_s, restored=True
            )
        self._services.update(state.services)
        self.membership.move()

    def state(self) -> RegistryState:
        """Return the state that a later process restores."""
        return RegistryState(
            engines={lease.engine.engine_id: lease.engine for lease in self._sorted()}, services=dict(self._services)
        )

    def register(self, engine: registry_pb2.Engine, load: registry_pb2.Load, *, peer: str = "") -> Lease:
        """Register an engine and return its lease.

        Raises:
            ServiceError: INVALID_REQUEST for a description that cannot be routed; ALREADY_EXISTS where another live
                engine has the id; FAILED_PRECONDITION where another cluster's live engines serve one of the services.
        """
        check_engine(engine, contracts=self._contracts, peer=peer)
        check_load(load)
        self._refuse_conflicts(engine)
        address = parse_address(engine.address)
        for other in list(self._leases.values()):
            if other.engine.engine_id == engine.engine_id or parse_address(other.engine.address) == address:
                self._end(other, LeaseEnd.REPLACED, quietly=True)
        lease = Lease(engine=engine, load=load, expires_at=self._clock() + self.lease_s)
        self._leases[engine.engine_id] = lease
        for service in engine.grpc_services:
            self._services[service] = engine.cluster
        self.membership.move()
        return lease

    def renew(self, lease: Lease, load: registry_pb2.Load) -> None:
        """Renew a lease, with the engine's load.

        Raises:
            ServiceError: INVALID_REQUEST for a load that cannot be true.
        """
        check_load(load)
        if lease.end is not None:
            return
        lease.expires_at = self._clock() + self.lease_s
        if load == lease.load:
            return
        drain_changed = load.draining != lease.load.draining
        lease.load = load
        if drain_changed:
            self.membership.move()
        else:
            self.load.move()

    def release(self, lease: Lease) -> None:
        """End a lease whose stream ended."""
        self._end(lease, LeaseEnd.RELEASED)

    def sweep(self, *, every_s: float) -> None:
        """End the leases that lapsed. Call it every `every_s` seconds.

        Time in which this process itself stood still is added to every lease, because reports may lie unread.
        """
        now = self._clock()
        stood_still = now - self._swept_at - every_s
        self._swept_at = now
        if stood_still > self.lease_s / 6:
            for lease in self._leases.values():
                lease.expires_at += stood_still
        for lease in list(self._leases.values()):
            if lease.expires_at <= now:
                self._end(lease, LeaseEnd.NOT_BACK if lease.restored else LeaseEnd.LAPSED)

    def live(self) -> tuple[registry_pb2.LiveEngine, ...]:
        """Return every engine that holds a lease, by id."""
        return tuple(registry_pb2.LiveEngine(engine=lease.engine, load=lease.load) for lease in self._sorted())

    def leases(self) -> tuple[Lease, ...]:
        """Return every lease, by engine id."""
        return tuple(self._sorted())

    def services(self) -> Mapping[str, str]:
        """Return the cluster of each gRPC service ever seen."""
        return MappingProxyType(self._services)

    def _sorted(self) -> list[Lease]:
        return sorted(self._leases.values(), key=lambda lease: lease.engine.engine_id)

    def _refuse_conflicts(self, engine: registry_pb2.Engine) -> None:
        held = self._leases.get(engine.engine_id)
        if held is not None and not held.restored:
            here, there = parse_address(engine.address), parse_address(held.engine.address)
            if here != there:
                raise ServiceError(
                    Reason.ALREADY_EXISTS,
                    f"engine_id {engine.engine_id!r} is live at {there}, so {here} is refused; stop that engine or "
                    f"give this one another id (a dead engine's lease lapses within {self.lease_s:g} s)",
                )
        for lease in self._leases.values():
            other = lease.engine
            if other.cluster == engine.cluster or other.engine_id == engine.engine_id or lease.restored:
                continue
            shared = sorted(set(other.grpc_services) & set(engine.grpc_services))
            if shared:
                raise ServiceError(
                    Reason.FAILED_PRECONDITION,
                    f"engine {engine.engine_id!r} of cluster {engine.cluster!r} serves {shared[0]}, which live engine "
                    f"{other.engine_id!r} serves in cluster {other.cluster!r}; one service lives in one cluster",
                )

    def _end(self, lease: Lease, end: LeaseEnd, *, quietly: bool = False) -> None:
        if lease.end is not None:
            return
        lease.end = end
        if self._leases.get(lease.engine.engine_id) is lease:
            del self._leases[lease.engine.engine_id]
        lease.ended.set()
        self._ended(lease, end)
        if not quietly:
            self.membership.move()
