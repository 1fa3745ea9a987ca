"""Loads the models of the catalog that an engine serves, by whatever runtimes it has."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from enginehouse.kit.admission import Slots
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

_log = logging.getLogger(__name__)


class LoadError(Exception):
    """The engine cannot start; the message says why and what to do."""


class Loaded(Protocol):
    """A model that a runtime has loaded."""

    @property
    def slots(self) -> int:
        """How many requests it works on at once."""

    async def close(self) -> None:
        """Ends what runs and frees the model."""


LoadedT = TypeVar("LoadedT", bound=Loaded)
LoadedT_co = TypeVar("LoadedT_co", bound=Loaded, covariant=True)


class Loader(Protocol[LoadedT_co]):
    """A runtime, by the catalog's word for it."""

    @property
    def name(self) -> str:
        """The catalog's word."""

    async def load(self, model: CatalogModel) -> LoadedT_co:
        """Loads a model. Raises ServiceError, WEIGHTS_ABSENT where its weights are not here."""


@dataclass(frozen=True, slots=True)
class ServedModel(Generic[LoadedT]):
    """A model of the catalog, loaded, with the slots that its requests hold."""

    catalog: CatalogModel
    loaded: LoadedT
    slots: Slots


@dataclass(frozen=True, slots=True)
class LoadedModels(Generic[LoadedT]):
    """What came of loading."""

    served: Mapping[str, ServedModel[LoadedT]]
    """By name."""
    absent: Mapping[str, ServiceError]
    """Why models of the catalog were left out, by name: their weights are not here."""

    async def close(self) -> None:
        """Frees them all."""
        async with contextlib.AsyncExitStack() as stack:
            for served in self.served.values():
                stack.push_async_callback(served.loaded.close)


async def load_models(
    catalog: Catalog,
    *,
    cluster: str,
    backends: Sequence[Loader[LoadedT]],
    names: Sequence[str],
    queue_per_model: int,
) -> LoadedModels[LoadedT]:
    """Loads models of the catalog, one after the other.

    Args:
        catalog: the models there are.
        cluster: the kind of engine that this is, such as "inference".
        backends: the runtimes that it has.
        names: which to load; every one must. Empty loads those of this cluster whose weights are here.
        queue_per_model: how many requests may wait for a slot of a model.

    Raises LoadError.
    """
    chosen = [_choose(catalog, cluster, name) for name in names] or list(catalog.for_cluster(cluster))
    by_name = {backend.name: backend for backend in backends}
    served: dict[str, ServedModel[LoadedT]] = {}
    absent: dict[str, ServiceError] = {}
    loaded = LoadedModels(served=served, absent=absent)
    try:
        for model in chosen:
            try:
                backend = by_name.get(model.backend)
                if backend is None:
                    known = ", ".join(sorted(by_name))
                    raise LoadError(
                        f"model {model.name!r} needs the backend {model.backend!r}; this engine has: {known}"
                    )
                served[model.name] = await _load(model, backend, queue_per_model)
            except ServiceError as error:
                if names or error.reason is not Reason.WEIGHTS_ABSENT:
                    raise LoadError(f"cannot serve {model.name!r}: {error.message}") from error
                _log.warning("left out: %s", error.message)
                absent[model.name] = error
        if not served:
            why = "; ".join(error.message for error in absent.values()) or "the catalog has no model for this cluster"
            raise LoadError(f"there is no model to serve: {why}")
    except BaseException:
        await loaded.close()
        raise
    return loaded


async def _load(model: CatalogModel, backend: Loader[LoadedT], queue: int) -> ServedModel[LoadedT]:
    loaded = await backend.load(model)
    _log.info("loaded %s by %s", model.name, backend.name)
    return ServedModel(catalog=model, loaded=loaded, slots=Slots(capacity=loaded.slots, queue_limit=queue))


def _choose(catalog: Catalog, cluster: str, name: str) -> CatalogModel:
    model = catalog.get(name)
    if model is None or model.cluster != cluster:
        known = ", ".join(known.name for known in catalog.for_cluster(cluster)) or "none"
        raise LoadError(f"models: the catalog has no model {name!r} for this cluster; it has: {known}")
    return model
