"""What a voice engine tells the registry of itself."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.engines.voice.config import CLUSTER
from enginehouse.engines.voice.engine import VoiceEngine


def describe_engine(
    engine: VoiceEngine, *, engine_id: str, address: str, services: Sequence[str]
) -> registry_pb2.Engine:
    """The engine's description: where it serves, and which models."""
    return registry_pb2.Engine(
        engine_id=engine_id,
        cluster=CLUSTER,
        address=address,
        grpc_services=services,
        models=[
            registry_pb2.ServedModel(name=served.catalog.name, capabilities=sorted(served.catalog.capabilities))
            for served in engine.models
        ],
        capacity=sum(served.loaded.slots for served in engine.models),
        version=version("enginehouse-voice"),
    )


def engine_load(engine: VoiceEngine, *, tallies: Sequence[registry_pb2.ModelTally] = ()) -> registry_pb2.Load:
    """How busy the engine is now, and how its calls have ended."""
    return registry_pb2.Load(
        tallies=tallies,
        active=sum(served.slots.active for served in engine.models),
        queued=sum(served.slots.queued for served in engine.models),
    )
