"""The gateway's registry, as far as a router sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent import futures

import grpc

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc

MODELS = ("small", "large", "vectors")
"""The models of the engine that is there when a test begins."""


class RegistryServer(registry_pb2_grpc.RegistryServiceServicer):
    """A registry that holds leases and tells which engines live, as a test sets them."""

    def __init__(self) -> None:
        self.engines: list[registry_pb2.LiveEngine] = []
        self._changed = threading.Condition()
        self._version = 0
        self._server = grpc.server(futures.ThreadPoolExecutor(32))
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def put(
        self,
        engine_id: str,
        *,
        models: Sequence[str],
        address: str = "127.0.0.1:5001",
        active: int = 0,
        queued: int = 0,
        draining: bool = False,
    ) -> None:
        """Add an engine or change it."""
        load = registry_pb2.Load(active=active, queued=queued, draining=draining)
        self.add(registry_pb2.LiveEngine(engine=_text_engine(engine_id, models=models, address=address), load=load))

    def reset(self) -> None:
        """Leave one engine that serves every model but `asleep`."""
        engine = _text_engine("engine-1", models=MODELS, address="127.0.0.1:5001")
        # At once: a router that saw no engine in between would take this one for crashed.
        with self._changed:
            routers = [live for live in self.engines if live.engine.cluster == "router"]
            self.engines = [*routers, registry_pb2.LiveEngine(engine=engine)]
            self._version += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End every stream."""
        self._version = -1
        with self._changed:
            self._changed.notify_all()
        self._server.stop(0.2).wait()

    def add(self, added: registry_pb2.LiveEngine) -> None:
        """Add an engine, or replace the one of that id."""
        with self._changed:
            others = [live for live in self.engines if live.engine.engine_id != added.engine.engine_id]
            self.engines = [*others, added]
            self._version += 1
            self._changed.notify_all()

    def WatchEngines(
        self, request: registry_pb2.WatchEnginesRequest, context: grpc.ServicerContext
    ) -> Iterator[registry_pb2.WatchEnginesResponse]:
        """Send the engines at once and after each change."""
        while self._version >= 0 and context.is_active():
            seen = self._version
            yield registry_pb2.WatchEnginesResponse(engines=self.engines)
            with self._changed:
                self._changed.wait_for(lambda seen=seen: self._version != seen, timeout=1)  # type: ignore[misc]

    def Register(
        self, requests: Iterator[registry_pb2.RegisterRequest], context: grpc.ServicerContext
    ) -> Iterator[registry_pb2.RegisterResponse]:
        """Hold a lease for as long as the caller keeps its stream."""
        for request in requests:
            if request.HasField("engine"):
                self.add(registry_pb2.LiveEngine(engine=request.engine, load=request.load))
            yield registry_pb2.RegisterResponse(lease_seconds=3)


def _text_engine(engine_id: str, *, models: Sequence[str], address: str) -> registry_pb2.Engine:
    return registry_pb2.Engine(
        engine_id=engine_id,
        cluster="inference",
        address=address,
        grpc_services=[
            "enginehouse.api.inference.v1.GenerationService",
            "enginehouse.api.openai.v1.TextService",
        ],
        models=[registry_pb2.ServedModel(name=name) for name in models],
        capacity=4,
    )
