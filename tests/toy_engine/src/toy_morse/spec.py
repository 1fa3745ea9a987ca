"""The Morse engine as data: its entry in `enginehouse.engines`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enginehouse.kit.engine import EngineSection, EngineSpec

if TYPE_CHECKING:
    from enginehouse.kit.engine.context import BuiltEngine, EngineContext
    from toy_morse.backend import LoadedMorse, MorseInfo


class MorseConfig(EngineSection):
    """The section `morse` of the configuration. Its keys are those of every engine."""


async def build(context: EngineContext[MorseConfig]) -> BuiltEngine[MorseInfo, LoadedMorse]:
    """Inspect the models and return what serves them."""
    # Imported here: reading the spec must not load the runtimes.
    from enginehouse.kit.engine.context import BuiltEngine
    from toy_morse.api import morse_pb2_grpc
    from toy_morse.backend import InternationalBackend
    from toy_morse.servicer import MorseServicer

    models = await context.serve_models([InternationalBackend()])
    servicer = MorseServicer(calls=context.calls, models=models)
    return BuiltEngine(
        services=[lambda server: morse_pb2_grpc.add_MorseServiceServicer_to_server(servicer, server)],
        models=models,
    )


SPEC = EngineSpec(
    kind="morse",
    package="toy_morse",
    distribution="toy-morse",
    config=MorseConfig,
    build=build,
    catalog="catalog.yaml",
)
