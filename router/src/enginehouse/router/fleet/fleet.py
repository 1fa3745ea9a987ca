"""The live engines, and the order in which a request should try them. Fed by the gateway's registry."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import grpc

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.kit.addresses import parse_address
from enginehouse.kit.languages import fold_tag
from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.fleet.affinity import preferred, seed_of
from enginehouse.router.fleet.health import BreakerState, Health

_log = logging.getLogger(__name__)

_RETRY_S = 0.1
_MAX_RETRY_S = 1.0
# Envoy tries no more than so many; see the gateway's routes.
_MAX_ENDPOINTS = 5
# Where there are models to fall back to, a model's endpoints must not use up the tries before it is their turn.
_MAX_BEFORE_FALLBACK = 2
# A KV cache fuller than this makes an engine stop and wait in the middle of answers.
_FULL = 0.95


@dataclasses.dataclass(slots=True, eq=False)
class Endpoint:
    """A live engine.

    `requests` is how many it is thought to have now: those running and waiting when it last said so, and those sent
    there since, so that a burst between two reports spreads. `kv_cache_used` is the share of its KV cache in use, and
    `full` whether that leaves no room to speak of. `seed` is for prefix affinity.
    """

    engine_id: str
    address: str
    cluster: str
    capacity: int
    requests: int
    kv_cache_used: float
    full: bool
    seed: int

    def pressure(self) -> float:
        """Return how busy it is thought to be now."""
        return self.requests / self.capacity + self.kv_cache_used / 4


class Declared(NamedTuple):
    """The languages of a model, as BCP 47 tags, and the folded names of its voices, as its engines declare them."""

    languages: tuple[str, ...] = ()
    voices: frozenset[str] = frozenset()


_NOTHING = Declared()


class Fleet:
    """The live engines by model and by service. The last known set stays when the gateway is away.

    Args:
        health: which of them to send requests to; one of its own if None.
        affinity_slack: how much busier than its fair share an engine may become through prefix affinity.
    """

    def __init__(self, *, health: Health | None = None, affinity_slack: float = 0.25) -> None:
        self.health = Health() if health is None else health
        """Which models and engines answer."""
        self._slack = affinity_slack
        self._by_model: dict[str, tuple[Endpoint, ...]] = {}
        self._by_service: dict[str, tuple[Endpoint, ...]] = {}
        self._spending: tuple[str, ...] = ()
        self._known: dict[str, _KnownEngine] = {}
        self._declared: dict[str, Declared] = {}
        self._absent: dict[str, str] = {}

    def update(self, engines: Iterable[registry_pb2.LiveEngine]) -> None:
        """Replace the set. Engines that drain are left out."""
        engines = list(engines)
        self.health.observe(engines)
        by_model: dict[str, list[Endpoint]] = {}
        by_service: dict[str, list[Endpoint]] = {}
        known: dict[str, _KnownEngine] = {}
        declared: dict[str, Declared] = {}
        absent: dict[str, str] = {}
        spending = []
        for live in engines:
            engine = live.engine
            if engine.models:
                spending.append(engine.engine_id)
            if live.load.draining:
                continue
            before = self._known.get(engine.engine_id)
            if before is not None and before.live == live:
                # It has said nothing new, so that what was sent there since is still under way, or half of it.
                endpoint = before.endpoint
                endpoint.requests -= (endpoint.requests - _at_work(live.load)) // 2
            else:
                endpoint = _endpoint(live)
            same = before is not None and before.live.engine == engine
            models = before.models if before is not None and same else _declared(engine)
            known[engine.engine_id] = _KnownEngine(live, endpoint, models)
            for name, declaration in models.items():
                by_model.setdefault(name, []).append(endpoint)
                declared[name] = _both(declared[name], declaration) if name in declared else declaration
            for model in engine.absent_models:
                absent[model.name] = model.reason
            for service in engine.grpc_services:
                by_service.setdefault(service, []).append(endpoint)
        self._known = known
        self._absent = absent
        self._declared = declared
        self._by_model = {name: tuple(found) for name, found in by_model.items()}
        self._by_service = {name: tuple(found) for name, found in by_service.items()}
        self._spending = tuple(spending)

    def serving(self, model: str, *, affinity: int = 0) -> Sequence[Endpoint]:
        """Engines that serve a model, in the order to try them, at most five.

        The first is the one that the prefix belongs to, or the least busy; then the others, least busy first. Where a
        breaker is half-open and a probe is due, that engine comes first, so that it is tried while others can step in.
        Engines with an open breaker are left out; unless all have one, for a request refused is surely lost, and a
        breaker only remembers.

        Args:
            model: the catalog name.
            affinity: from `affinity_key`; 0 for none.
        """
        found = self._by_model.get(model, ())
        if len(found) < 2:
            return found
        probes: list[Endpoint] = []
        if not self.health.untroubled:
            found, probes, bad = self._judged(model, found)
            if not found:
                return (probes + bad)[:_MAX_ENDPOINTS]
        ordered = sorted(found, key=Endpoint.pressure)
        if affinity and len(ordered) > 1:
            first = preferred(found, affinity, slack=self._slack)
            if first is not ordered[0]:
                ordered.remove(first)
                ordered.insert(0, first)
        return (probes[:1] + ordered)[:_MAX_ENDPOINTS]

    def _judged(
        self, model: str, found: Sequence[Endpoint]
    ) -> tuple[tuple[Endpoint, ...], list[Endpoint], list[Endpoint]]:
        """Engines whose breaker is closed, those that may be probed, and the others, the least bad first."""
        health = self.health
        well, probes, bad = [], [], []
        for endpoint in found:
            if not health.lets_through(model, endpoint.engine_id):
                bad.append(endpoint)
            elif health.state(model, endpoint.engine_id) is BreakerState.CLOSED:
                well.append(endpoint)
            else:
                probes.append(endpoint)
        bad.sort(key=lambda endpoint: (health.wait_s(model, endpoint.engine_id), endpoint.pressure()))
        return tuple(well), probes, bad

    def absence(self, model: str) -> str:
        """Return why the live engines that would serve a model cannot, as one of them says; empty if none does."""
        return self._absent.get(model, "")

    def serves(self, model: str) -> bool:
        """Return whether a live engine serves a model."""
        return model in self._by_model

    def declared(self, model: str) -> Declared:
        """Return the languages and voices that the engines which serve a model declare together."""
        return self._declared.get(model, _NOTHING)

    def is_well(self, model: str) -> bool:
        """Return whether requests should go to a model while others could serve them too: its own breaker lets them
        through, and that of at least one engine.
        """
        health = self.health
        if health.untroubled:
            return True
        return health.lets_through(model) and any(
            health.lets_through(model, endpoint.engine_id) for endpoint in self._by_model.get(model, ())
        )

    def health_of(self, model: str) -> str:
        """Return the state of a model's engines in words: "2 live", "2 live, 1 open", "1 live; failing (open)"."""
        found = self._by_model.get(model, ())
        states = Counter(self.health.state(model, endpoint.engine_id) for endpoint in found)
        bad = [f"{states[state]} {state}" for state in (BreakerState.OPEN, BreakerState.HALF_OPEN) if states[state]]
        words = ", ".join([f"{len(found)} live", *bad])
        over_all = self.health.state(model)
        return words if over_all is BreakerState.CLOSED else f"{words}; failing everywhere ({over_all})"

    def sent(self, endpoint: Endpoint, model: str) -> None:
        """A request goes there first."""
        endpoint.requests += 1
        self.health.sent(model, endpoint.engine_id)

    def of_service(self, service: str) -> Sequence[Endpoint]:
        """Engines that serve a gRPC service, least busy first."""
        found = self._by_service.get(service, ())
        return found if len(found) < 2 else sorted(found, key=Endpoint.pressure)[:_MAX_ENDPOINTS]

    def count_of_service(self, service: str) -> int:
        """Return the number of live engines that serve it."""
        return len(self._by_service.get(service, ()))

    def spending_engines(self) -> Sequence[str]:
        """The ids of engines that can be sent grants with money."""
        return self._spending

    def __len__(self) -> int:
        return len(self._spending)


def in_order(chains: Sequence[Sequence[Endpoint]]) -> Sequence[Endpoint]:
    """The endpoints of several models in the order to try them: the first model's, then each fallback's; none twice.

    All of them are of the first one's cluster, for Envoy carries a request within one.
    """
    if len(chains) == 1:
        return chains[0]
    ordered: dict[str, Endpoint] = {}
    for chain in chains:
        taken = 0
        for endpoint in chain:
            if endpoint.address not in ordered and endpoint.cluster == chains[0][0].cluster:
                ordered[endpoint.address] = endpoint
                taken += 1
            if taken == _MAX_BEFORE_FALLBACK or len(ordered) == _MAX_ENDPOINTS:
                break
    return list(ordered.values())


class _KnownEngine(NamedTuple):
    live: registry_pb2.LiveEngine
    endpoint: Endpoint
    models: Mapping[str, Declared]


def _declared(engine: registry_pb2.Engine) -> dict[str, Declared]:
    return {
        model.name: Declared(tuple(model.languages), frozenset(fold_tag(voice) for voice in model.voices))
        for model in engine.models
    }


def _both(one: Declared, other: Declared) -> Declared:
    if one == other:
        return one
    return Declared(tuple(dict.fromkeys([*one.languages, *other.languages])), one.voices | other.voices)


def _at_work(load: registry_pb2.Load) -> int:
    return load.active + load.queued


def _endpoint(live: registry_pb2.LiveEngine) -> Endpoint:
    engine, load = live.engine, live.load
    return Endpoint(
        engine.engine_id,
        engine.address,
        engine.cluster,
        max(1, engine.capacity),
        _at_work(load),
        load.kv_cache_used,
        load.kv_cache_used > _FULL,
        seed_of(engine.engine_id),
    )


class FleetWatch:
    """Follows `RegistryService.WatchEngines` for ever."""

    def __init__(self, *, gateway_address: str, fleet: Fleet, on_change: Callable[[], None] = lambda: None) -> None:
        self._target = str(parse_address(gateway_address))
        self._fleet = fleet
        self._on_change = on_change
        self._task = BackgroundTask(self._run, name="fleet-watch")
        self.connected = False
        """True while the registry is followed."""
        self.seen = asyncio.Event()
        """Set once a set of engines has been received."""

    def start(self) -> None:
        """Start following."""
        self._task.start()

    async def close(self) -> None:
        """Stop."""
        await self._task.close()

    async def _run(self) -> None:
        pause = _RETRY_S
        while True:
            try:
                async with grpc.aio.insecure_channel(
                    self._target,
                    options=(
                        ("grpc.use_local_subchannel_pool", 1),
                        ("grpc.enable_retries", 0),
                        ("grpc.keepalive_time_ms", 10_000),
                        ("grpc.keepalive_timeout_ms", 5_000),
                        ("grpc.max_receive_message_length", 64 << 20),
                    ),
                ) as channel:
                    stub: registry_pb2_grpc.RegistryServiceAsyncStub = registry_pb2_grpc.RegistryServiceStub(channel)
                    async for response in stub.WatchEngines(registry_pb2.WatchEnginesRequest()):
                        pause = _RETRY_S
                        self._fleet.update(response.engines)
                        self.connected = True
                        self.seen.set()
                        self._on_change()
            except grpc.aio.AioRpcError as error:
                if self.connected or not self.seen.is_set():
                    _log.warning(
                        "not following the registry; the last known engines stay", extra={"code": error.code().name}
                    )
            self.connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_RETRY_S)
