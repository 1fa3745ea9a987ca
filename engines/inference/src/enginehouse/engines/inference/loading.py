"""Loads the models that an engine serves."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enginehouse.engines.inference.backends.base import Backend
from enginehouse.engines.inference.engine import ServedModel
from enginehouse.kit.admission import Slots
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

CLUSTER = "inference"

_log = logging.getLogger(__name__)


class LoadError(Exception):
    """The engine cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """What came of loading."""

    served: Mapping[str, ServedModel]
    """By name."""
    absent: Mapping[str, ServiceError]
    """Why models of the catalog were left out, by name: their weights are not here."""

    async def close(self) -> None:
        """Frees them all."""
        async with contextlib.AsyncExitStack() as stack:
            for served in self.served.values():
                stack.push_async_callback(served.loaded.close)


async def load_models(
    catalog: Catalog, *, backends: Mapping[str, Backend], names: Sequence[str], queue_per_model: int
) -> LoadedModels:
    """Loads models of the catalog, one after the other.

    Args:
        catalog: the models there are.
        backends: by the catalog's word for them.
        names: which to load; every one must. Empty loads those of this cluster whose weights are here.
        queue_per_model: how many requests may wait for a slot of a model.

    Raises LoadError.
    """
    chosen = [_choose(catalog, name) for name in names] or list(catalog.for_cluster(CLUSTER))
    served: dict[str, ServedModel] = {}
    absent: dict[str, ServiceError] = {}
    loaded = LoadedModels(served=served, absent=absent)
    try:
        for model in chosen:
            try:
                backend = backends.get(model.backend)
                if backend is None:
                    known = ", ".join(sorted(backends))
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


async def _load(model: CatalogModel, backend: Backend, queue: int) -> ServedModel:
    loaded = await backend.load(model)
    _log.info("loaded %s by %s", model.name, backend.name)
    return ServedModel(catalog=model, loaded=loaded, slots=Slots(capacity=loaded.slots, queue_limit=queue))


def _choose(catalog: Catalog, name: str) -> CatalogModel:
    model = catalog.get(name)
    if model is None or model.cluster != CLUSTER:
        known = ", ".join(known.name for known in catalog.for_cluster(CLUSTER)) or "none"
        raise LoadError(f"models: the catalog has no model {name!r} for this cluster; it has: {known}")
    return model
