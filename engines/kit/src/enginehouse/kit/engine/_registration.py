"""The description of an engine for the gateway's registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.kit.engine._spec import EngineSpec
from enginehouse.kit.engine.context import BuiltEngine


def describe_engine(
    spec: EngineSpec[Any], engine: BuiltEngine[Any, Any], *, engine_id: str, address: str, services: Sequence[str]
) -> registry_pb2.Engine:
    """Return the engine's description: where it serves, which services, and which models."""
    models = engine.models.all
    return registry_pb2.Engine(
        engine_id=engine_id,
        cluster=spec.kind,
        address=address,
        grpc_services=services,
        models=[engine.describe(served) for served in models],
        capacity=sum(served.info.slots for served in models),
        version=spec.version(),
        absent_models=[
            registry_pb2.AbsentModel(name=name, reason=error.message) for name, error in engine.models.absent.items()
        ],
    )


def engine_load(engine: BuiltEngine[Any, Any], *, tallies: Sequence[registry_pb2.ModelTally] = ()) -> registry_pb2.Load:
    """Return how busy the engine is now, and how its calls have ended."""
    models = engine.models.all
    return registry_pb2.Load(
        tallies=tallies,
        active=sum(served.slots.active for served in models),
        queued=sum(served.slots.queued for served in models),
        kv_cache_used=engine.kv_cache_used(),
    )
