"""The choice of the catalog's models that an engine serves, their inspection, and what is loaded at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from enginehouse.kit.calls.slots import Slots
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.loading._interfaces import InfoT, LoadedT, Loader, LoadError, LoadingClock
from enginehouse.kit.loading._memory import MIB, ModelMemory
from enginehouse.kit.loading._models import ServedModels
from enginehouse.kit.loading._served import ServedModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingSettings:
    """The settings for when models are loaded and unloaded; they are those of an engine's section.

    Attributes:
        keep_alive_s: seconds without use after which a model is unloaded, where its catalog entry says nothing; 0 at
            once, -1 never.
        warm_up: the models to load at start.
        memory_limit_mib: the bound on the memory of loaded models together, by their estimates; 0 for none.
        queue_per_model: how many requests may wait for a slot of a model.
    """

    keep_alive_s: float = 300.0
    warm_up: Sequence[str] = ()
    memory_limit_mib: int = 0
    queue_per_model: int = 64


async def serve_models(
    catalog: Catalog,
    *,
    cluster: str,
    backends: Sequence[Loader[InfoT, LoadedT]],
    names: Sequence[str] = (),
    settings: LoadingSettings | None = None,
    clock: LoadingClock | None = None,
) -> ServedModels[InfoT, LoadedT]:
    """Inspect models of the catalog, load those that are to be warm, and return all that can be served.

    Args:
        catalog: all models.
        cluster: the kind of the engine, such as "inference".
        backends: the engine's runtimes.
        names: the models to serve, whose weights must be here; if empty, those of this cluster whose weights are here.
        settings: when models are loaded and unloaded.
        clock: measures idleness; the event loop if left out.

    Raises:
        LoadError: a model cannot be served or warmed up, or there is none.
    """
    settings = settings or LoadingSettings()
    required = {*names, *settings.warm_up}
    chosen = [_choose(catalog, cluster, name) for name in names] or list(catalog.for_cluster(cluster))
    by_name = {backend.name: backend for backend in backends}
    memory = ModelMemory(limit_mib=settings.memory_limit_mib, setting=f"{cluster}.memory_limit_mib")
    served: dict[str, ServedModel[InfoT, LoadedT]] = {}
    absent: dict[str, ServiceError] = {}
    for model in chosen:
        backend = by_name.get(model.backend)
        if backend is None:
            known = ", ".join(sorted(by_name))
            raise LoadError(f"model {model.name!r} needs the backend {model.backend!r}; this engine has: {known}")
        try:
            info = await backend.inspect(model)
        except ServiceError as error:
            if model.name in required or error.reason is not Reason.WEIGHTS_ABSENT:
                raise LoadError(f"cannot serve {model.name!r}: {error.message}") from error
            _log.warning("not serving a model: %s", error.message)
            absent[model.name] = error
            continue
        served[model.name] = ServedModel(
            catalog=model,
            info=info,
            loader=backend,
            slots=Slots(capacity=info.slots, queue_limit=settings.queue_per_model),
            keep_alive_s=settings.keep_alive_s if model.keep_alive_s is None else model.keep_alive_s,
            memory=memory,
            clock=clock,
        )
    if not served:
        why = "; ".join(error.message for error in absent.values()) or "the catalog has no model for this cluster"
        raise LoadError(f"no model to serve: {why}")
    models = ServedModels(served, absent=absent)
    try:
        await _warm_up(models, settings.warm_up, memory, cluster)
    except BaseException:
        await models.close()
        raise
    return models


async def _warm_up(
    models: ServedModels[InfoT, LoadedT], names: Sequence[str], memory: ModelMemory, cluster: str
) -> None:
    warm: list[ServedModel[InfoT, LoadedT]] = []
    for name in names:
        if name not in models.served:
            known = ", ".join(models.served)
            raise LoadError(f"{cluster}.warm_up: {name!r} is not among the models that are served here: {known}")
        warm.append(models.served[name])
    needed = sum(served.memory_bytes for served in warm)
    if memory.limit_bytes and needed > memory.limit_bytes:
        raise LoadError(
            f"{cluster}.warm_up: these models need about {-(-needed // MIB)} MiB together, more than "
            f"{cluster}.memory_limit_mib ({memory.limit_bytes // MIB}); raise it, or warm up fewer"
        )
    for served in warm:
        try:
            async with served.use():
                pass
        except ServiceError as error:
            raise LoadError(f"cannot load {served.name!r}: {error.message}") from error


def _choose(catalog: Catalog, cluster: str, name: str) -> CatalogModel:
    model = catalog.get(name)
    if model is None or model.cluster != cluster:
        known = ", ".join(known.name for known in catalog.for_cluster(cluster)) or "none"
        raise LoadError(f"models: the catalog has no model {name!r} for this cluster; it has: {known}")
    return model
