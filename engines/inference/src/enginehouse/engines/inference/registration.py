"""What a text engine tells the registry of itself."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.engines.inference.config import CLUSTER
from enginehouse.engines.inference.engine import TextEngine, capabilities_of


def describe_engine(
    engine: TextEngine, *, engine_id: str, address: str, services: Sequence[str]
) -> registry_pb2.Engine:
    """The engine's description: where it serves, and which models."""
    return registry_pb2.Engine(
        engine_id=engine_id,
        cluster=CLUSTER,
        address=address,
        grpc_services=services,
        models=[
            registry_pb2.ServedModel(
                name=served.catalog.name,
                capabilities=capabilities_of(served),
                context_tokens=served.loaded.context_tokens,
            )
            for served in engine.models
        ],
        capacity=sum(served.loaded.slots for served in engine.models),
        version=version("enginehouse-inference"),
    )


def engine_load(engine: TextEngine, *, tallies: Sequence[registry_pb2.ModelTally] = ()) -> registry_pb2.Load:
    """How busy the engine is now, and how its calls have ended. Its KV cache is as full as its fullest model's."""
    return registry_pb2.Load(
        tallies=tallies,
        active=sum(served.slots.active for served in engine.models),
        queued=sum(served.slots.queued for served in engine.models),
        kv_cache_used=max((served.loaded.kv_cache_used() for served in engine.models), default=0.0),
    )
