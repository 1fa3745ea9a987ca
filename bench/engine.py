"""The text engine over the synthetic source.

    python -m bench.engine granted CONFIG.yaml    as in a mesh: grants, spool, usage reports, registry lease
    python -m bench.engine ungranted CONFIG.yaml  in a mesh as well, admitting everybody: grants are compared with it
    python -m bench.engine bare PORT              by itself: the same engine and server, admitting everybody

The ungranted one serves one model, `synthetic-ungranted`, and reports nothing but watermarks, by which the router
releases what was held for its calls. The bare one is what the direct path and Envoy alone are measured with, and
LiteLLM's upstream. It listens on loopback.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import secrets
import sys
import time
from collections.abc import Container, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, cast

from enginehouse.api.inference.v1 import generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from enginehouse.engines.inference.backends.base import LoadedTextModel, TextModelInfo
from enginehouse.engines.inference.config import CLUSTER, InferenceConfig
from enginehouse.engines.inference.engine import TextEngine, TextModels
from enginehouse.engines.inference.resume_tokens import ResumeTokens
from enginehouse.engines.inference.servicer import GenerationServicer
from enginehouse.engines.inference.spec import SPEC
from enginehouse.engines.inference.wiring import describe
from enginehouse.kit.calls import Calls, GrantedCall
from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.engine import run_engine
from enginehouse.kit.engine.context import BuiltEngine, EngineContext
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.loading import LoadingSettings, serve_models
from enginehouse.kit.openai import TextServicer
from enginehouse.kit.pricing import MAX_NANOS, Unit
from enginehouse.kit.server import EngineServer, run
from enginehouse.kit.telemetry import configure_logging
from enginehouse.kit.usage.meter import Meter

from .source import SyntheticBackend

CATALOG = pathlib.Path(__file__).with_name("catalog.yaml")
MODELS = ("synthetic", "synthetic-saturated", "synthetic-slow")
UNGRANTED_MODEL = "synthetic-ungranted"


class AdmittedCall:
    """A call without a grant: unlimited and unreported."""

    def __init__(self, model: str) -> None:
        self.request_id = "bench"
        self.tenant_id = ""
        self.system_prompt = ""
        self.alternatives = False
        self.model = model
        self.grant = Grant()
        self.candidate = GrantCandidate(model=model, cap_nanos=MAX_NANOS)
        self.meter = Meter(prices={}, cap_nanos=MAX_NANOS)
        self.first_output_ms = 0
        self._started = time.monotonic()

    def time_left_s(self) -> float:
        """Never stop: there is no cap."""
        return math.inf

    async def reserve(self, unit: Unit, n: int) -> bool:
        """Return True: there is no cap."""
        return True

    async def reserve_cost(self, nanos: int) -> bool:
        """Return True: there is no cap."""
        return True

    def fall_back(self, error: ServiceError, *, served: Container[str]) -> bool:
        """Return False: there is no other model."""
        return False

    def elapsed_ms(self) -> int:
        """Milliseconds since the call began."""
        return int((time.monotonic() - self._started) * 1000)

    def mark_first_output(self) -> None:
        """Record the time of the first output."""
        self.first_output_ms = self.first_output_ms or max(1, self.elapsed_ms())

    async def __aenter__(self) -> AdmittedCall:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


class Everybody:
    """A stand-in for the kit's `Calls` that admits every call to one model."""

    def __init__(self, model: str) -> None:
        self._model = model

    def accept(self, context: Any, *, served_models: Any) -> AbstractAsyncContextManager[GrantedCall]:
        """Accept the call without a grant."""
        return AdmittedCall(self._model)


async def _load(catalog: pathlib.Path, names: Sequence[str] = MODELS) -> TextModels:
    return await serve_models(
        load_catalog(catalog),
        cluster=CLUSTER,
        backends=[SyntheticBackend()],
        names=names,
        settings=LoadingSettings(warm_up=names, queue_per_model=1024),
    )


def _services(engine: TextEngine, calls: Calls) -> list[Any]:
    generation = GenerationServicer(engine=engine, answering=engine, calls=calls)
    openai = TextServicer(
        engine=engine, accept=lambda context: calls.accept(context, served_models=engine.models.names)
    )
    return [
        lambda to: generation_pb2_grpc.add_GenerationServiceServicer_to_server(generation, to),
        lambda to: text_pb2_grpc.add_TextServiceServicer_to_server(openai, to),
    ]


async def serve_bare(port: int) -> None:
    """Serve until a signal, on loopback, without grants."""
    loaded = await _load(CATALOG)
    resume_tokens = ResumeTokens(keys=GrantKeys({"bench": secrets.token_bytes(32)}))
    engine = TextEngine(models=loaded, resume_tokens=resume_tokens)
    server = EngineServer(listen=f"127.0.0.1:{port}", services=_services(engine, cast("Calls", Everybody(MODELS[0]))))
    await server.start()
    await server.serve_until_signal()


async def _build(context: EngineContext[InferenceConfig]) -> BuiltEngine[TextModelInfo, LoadedTextModel]:
    models = await _load(context.config.catalog_file)
    engine = TextEngine(models=models, resume_tokens=ResumeTokens(keys=context.keys))
    return BuiltEngine(services=_services(engine, context.calls), models=models, describe=describe)


async def _build_ungranted(
    context: EngineContext[InferenceConfig],
) -> BuiltEngine[TextModelInfo, LoadedTextModel]:
    models = await _load(context.config.catalog_file, (UNGRANTED_MODEL,))
    engine = TextEngine(models=models, resume_tokens=ResumeTokens(keys=context.keys))
    admitting = cast("Calls", Everybody(UNGRANTED_MODEL))
    return BuiltEngine(services=_services(engine, admitting), models=models, describe=describe)


GRANTED = dataclasses.replace(SPEC, build=_build)
"""The text engine of a mesh, with the synthetic models."""
UNGRANTED = dataclasses.replace(SPEC, build=_build_ungranted)
"""The same without grants."""


def main() -> int:
    """Serve as the command line's arguments say."""
    mode, argument = sys.argv[1:]
    if mode == "bare":
        configure_logging(process="bench-engine", level="WARNING")
        run(serve_bare(int(argument)))
        return 0
    os.environ.setdefault("ENGINEHOUSE_INFERENCE__LOG_LEVEL", "WARNING")
    return run_engine(UNGRANTED if mode == "ungranted" else GRANTED, ["serve", "--config", argument])


if __name__ == "__main__":
    sys.exit(main())
