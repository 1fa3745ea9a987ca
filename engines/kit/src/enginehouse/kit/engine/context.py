"""The inputs of building an engine, and its result."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
from collections.abc import Callable, Container, MutableMapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.calls import Calls
from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.engine._section import EngineSection
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.loading import (
    InfoT,
    LoadedT,
    Loader,
    LoadingSettings,
    ServedModel,
    ServedModels,
    serve_models,
)
from enginehouse.kit.server import AddServicer

ConfigT = TypeVar("ConfigT", bound=EngineSection)

_log = logging.getLogger(__name__)


class EngineFailure(Exception):
    """An engine that could not serve on, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContext(Generic[ConfigT]):
    """The inputs that a process gives to the engine that it builds.

    Attributes:
        kind: the kind of engine.
        config: its section.
        environ: the process's environment.
        keys: the keys that routers sign grants with.
        calls: accepts grants and settles what calls used.
        packages: the weights that come as Python packages, for backends.
        stack: closes what is entered or pushed here, in reverse order, once the server has drained.
        failures: the reasons for which the process ends, where it is not because it was told to.
    """

    kind: str
    config: ConfigT
    environ: MutableMapping[str, str]
    keys: GrantKeys
    calls: Calls
    packages: PackagedWeights
    stack: AsyncExitStack
    failures: list[str] = field(default_factory=list)

    def end_process(self, why: str) -> None:
        """End this process as a signal would, with exit status 1: it cannot serve on, and is to be started again."""
        _log.critical("%s; ending this engine, to be restarted", why)
        self.failures.append(why)
        os.kill(os.getpid(), signal.SIGTERM)

    async def serve_models(
        self, backends: Sequence[Loader[InfoT, LoadedT]], *, close_timeout_s: float | None = None
    ) -> ServedModels[InfoT, LoadedT]:
        """Inspect the models that the section asks for, and load those that are to be warm; they are closed with the
        engine.

        Args:
            backends: the runtimes that the engine has.
            close_timeout_s: seconds that closing the models may take, if a runtime may hang in it; then the process
                prints where every thread is and exits with status 1.

        Raises:
            LoadError: a model cannot be served or warmed up, or there is none.
        """
        config = self.config
        models = await serve_models(
            load_catalog(config.catalog_file),
            cluster=self.kind,
            backends=backends,
            names=config.models,
            settings=LoadingSettings(
                keep_alive_s=config.keep_alive_s,
                warm_up=config.warm_up,
                memory_limit_mib=config.memory_limit_mib,
                queue_per_model=config.queue_per_model,
            ),
        )
        self.stack.push_async_callback(_close, models, close_timeout_s)
        return models


async def _close(models: ServedModels[InfoT, LoadedT], timeout_s: float | None) -> None:
    # Loading takes as long as it takes.
    await models.settle()
    # A runtime that hangs does so in a thread that nothing can end, and its destructor waits for that thread while it
    # holds the interpreter: no timeout of ours would ever run. This one is a thread in C.
    if timeout_s is not None:
        faulthandler.dump_traceback_later(timeout_s, exit=True, file=2)
    await models.close()
    if timeout_s is not None:
        faulthandler.cancel_dump_traceback_later()


def describe_by_catalog(served: ServedModel[InfoT, LoadedT]) -> registry_pb2.ServedModel:
    """Return a model as the registry shows it: with the capabilities and languages of its catalog entry."""
    return registry_pb2.ServedModel(
        name=served.catalog.name,
        capabilities=sorted(served.catalog.capabilities),
        languages=served.catalog.languages,
    )


def _none() -> Container[str]:
    return ()


def _zero() -> float:
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine(Generic[InfoT, LoadedT]):
    """An engine that is ready to serve.

    Attributes:
        services: one function for each gRPC service, which adds its servicer to a server.
        models: the models that it serves.
        describe: returns a model as the registry shows it.
        refusing: returns the names of models whose calls would be refused at once, because their provider is away.
        kv_cache_used: returns how full the fullest KV cache is, 0 to 1.
    """

    services: Sequence[AddServicer]
    models: ServedModels[InfoT, LoadedT]
    describe: Callable[[ServedModel[InfoT, LoadedT]], registry_pb2.ServedModel] = describe_by_catalog
    refusing: Callable[[], Container[str]] = _none
    kv_cache_used: Callable[[], float] = _zero
