"""Which engines live, and in which order a request should try them. Fed by the gateway's registry."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence

import grpc

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.kit.addresses import parse_address

_log = logging.getLogger(__name__)

_RETRY_S = 0.1
_LONGEST_RETRY_S = 1.0
# A header that names more is of no use: Envoy tries a few.
_MOST_ENDPOINTS = 5


@dataclasses.dataclass(slots=True, eq=False)
class Endpoint:
    """A live engine.

    `load` is requests running and waiting for each that it runs at once; `assigned` counts requests sent there since it
    last said how busy it is, so that a burst between two reports spreads.
    """

    engine_id: str
    address: str
    cluster: str
    capacity: int
    load: float
    assigned: int = 0

    def pressure(self) -> float:
        """How busy it is thought to be now."""
        return self.load + self.assigned / self.capacity


class Fleet:
    """The live engines by model and by service. The last known set stays when the gateway is away."""

    def __init__(self) -> None:
        self._by_model: dict[str, tuple[Endpoint, ...]] = {}
        self._by_service: dict[str, tuple[Endpoint, ...]] = {}
        self._spending: tuple[str, ...] = ()

    def update(self, engines: Iterable[registry_pb2.LiveEngine]) -> None:
        """Replaces the set. Engines that drain are left out."""
        by_model: dict[str, list[Endpoint]] = {}
        by_service: dict[str, list[Endpoint]] = {}
        spending = []
        for live in engines:
            engine, load = live.engine, live.load
            if engine.models:
                spending.append(engine.engine_id)
            if load.draining:
                continue
            capacity = max(1, engine.capacity)
            endpoint = Endpoint(
                engine.engine_id,
                engine.address,
                engine.cluster,
                capacity,
                (load.active + load.queued) / capacity + load.kv_cache_used / 4,
            )
            for model in engine.models:
                by_model.setdefault(model.name, []).append(endpoint)
            for service in engine.grpc_services:
                by_service.setdefault(service, []).append(endpoint)
        self._by_model = {name: tuple(found) for name, found in by_model.items()}
        self._by_service = {name: tuple(found) for name, found in by_service.items()}
        self._spending = tuple(spending)

    def serving(self, model: str) -> tuple[Endpoint, ...]:
        """Engines that serve a model, least busy first."""
        return _ordered(self._by_model.get(model, ()))

    def serves(self, model: str) -> bool:
        """Whether a live engine serves a model."""
        return model in self._by_model

    def of_service(self, service: str) -> tuple[Endpoint, ...]:
        """Engines that serve a gRPC service, least busy first."""
        return _ordered(self._by_service.get(service, ()))

    def knows_service(self, service: str) -> bool:
        """Whether a live engine serves it."""
        return service in self._by_service

    def spending_engines(self) -> Sequence[str]:
        """The ids of engines that can be sent grants with money."""
        return self._spending

    def __len__(self) -> int:
        return len(self._spending)


def _ordered(found: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    if len(found) < 2:
        return found
    return tuple(sorted(found, key=Endpoint.pressure)[:_MOST_ENDPOINTS])


class FleetWatch:
    """Follows `RegistryService.WatchEngines` for ever."""

    def __init__(self, *, gateway_address: str, fleet: Fleet, on_change: Callable[[], None] = lambda: None) -> None:
        self._target = str(parse_address(gateway_address))
        self._fleet = fleet
        self._on_change = on_change
        self._task: asyncio.Task[None] | None = None
        self.connected = False
        """Whether the registry is being followed now."""
        self.seen = asyncio.Event()
        """Set once a set of engines has been received."""

    def start(self) -> None:
        """Begins to follow."""
        self._task = asyncio.create_task(self._run(), name="fleet-watch")

    async def close(self) -> None:
        """Stops."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

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
            pause = min(pause * 2, _LONGEST_RETRY_S)
