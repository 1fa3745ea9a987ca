"""Loading of the catalog's models that an engine serves, by the runtimes that it has."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Container, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

from enginehouse.api.router.v1.grant_pb2 import GrantCandidate
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.calls.slots import Slots
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import Reason, ServiceError

_log = logging.getLogger(__name__)


class LoadError(Exception):
    """The engine cannot start; the message has the fault and the fix."""


class Loaded(Protocol):
    """A model that a runtime has loaded."""

    @property
    def slots(self) -> int:
        """The number of requests that it works on at once."""

    async def close(self) -> None:
        """End what runs and free the model."""


LoadedT = TypeVar("LoadedT", bound=Loaded)
MessageT = TypeVar("MessageT")
LoadedT_co = TypeVar("LoadedT_co", bound=Loaded, covariant=True)


class Loader(Protocol[LoadedT_co]):
    """A runtime that loads models of the catalog."""

    @property
    def name(self) -> str:
        """Its name in the catalog (`backend`)."""

    async def load(self, model: CatalogModel) -> LoadedT_co:
        """Load a model; raise ServiceError, with WEIGHTS_ABSENT if its weights are not here."""


@dataclass(frozen=True, slots=True)
class ServedModel(Generic[LoadedT]):
    """A loaded model with its catalog entry and the slots that its requests hold."""

    catalog: CatalogModel
    loaded: LoadedT
    slots: Slots


class LoadedModels(Generic[LoadedT]):
    """The models that an engine serves, and the lookup of a call's model among them.

    Args:
        served: the models that are loaded, by name.
        absent: the models of the catalog that were left out because their weights are not here, with the error that
            their calls get.
    """

    def __init__(
        self,
        served: Mapping[str, ServedModel[LoadedT]],
        *,
        absent: Mapping[str, ServiceError] = MappingProxyType({}),
    ) -> None:
        self.served = dict(sorted(served.items()))
        """The models that are loaded, by name and in its order."""
        self.absent = absent
        """The models of the catalog that were left out, by name, with the error that their calls get."""
        self.names: Container[str] = frozenset(served) | frozenset(absent)
        """The models that a call may name; one whose weights are absent gets an answer that says so."""

    @property
    def all(self) -> Sequence[ServedModel[LoadedT]]:
        """The models that are loaded, by name."""
        return list(self.served.values())

    def find(self, name: str) -> ServedModel[LoadedT]:
        """Return the model of that name.

        Raises:
            ServiceError: UNKNOWN_MODEL, or WEIGHTS_ABSENT if it was left out.
        """
        if name in self.absent:
            raise self.absent[name]
        served = self.served.get(name)
        if served is None:
            known = ", ".join(self.served) or "none"
            raise ServiceError(Reason.UNKNOWN_MODEL, f"unknown model {name[:128]!r}; this engine serves: {known}")
        return served

    def granted(self, call: GrantedCall) -> tuple[GrantCandidate, ServedModel[LoadedT]]:
        """Return the grant's entry that serves a call, and its model.

        Raises:
            ServiceError: GRANT_INVALID if the grant names none; else as `find` does.
        """
        if call.candidate is None:
            raise ServiceError(Reason.GRANT_INVALID, "invalid grant: it names no model, and this method needs one")
        return call.candidate, self.find(call.candidate.model)

    async def stream(
        self, call: GrantedCall, work: Callable[[], AsyncGenerator[MessageT, None]], *, may_fall_back: bool = True
    ) -> AsyncGenerator[MessageT, None]:
        """Yield the messages of the work, with the next model where one fails.

        If the model fails before anything was sent or counted, the work starts again with the next model that the grant
        names, if it is served here. Closing the generator closes the work.

        Args:
            call: the call, whose `candidate` is the model to work with.
            work: starts the work with the call's current model.
            may_fall_back: whether another model may answer.

        Raises:
            ServiceError: the last model's.
        """
        while True:
            try:
                async with aclosing(work()) as messages:
                    async for message in messages:
                        yield message
                return
            except ServiceError as error:
                if not (may_fall_back and call.fall_back(error, served=self.served)):
                    raise

    async def close(self) -> None:
        """Free all models."""
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
    """Load models of the catalog, one after the other.

    Args:
        catalog: all models.
        cluster: the kind of the engine, such as "inference".
        backends: the engine's runtimes.
        names: the models to load, each of which must load; if empty, those of this cluster whose weights are here.
        queue_per_model: how many requests may wait for a slot of a model.

    Raises:
        LoadError: a model cannot be loaded, or there is none.
    """
    chosen = [_choose(catalog, cluster, name) for name in names] or list(catalog.for_cluster(cluster))
    by_name = {backend.name: backend for backend in backends}
    served: dict[str, ServedModel[LoadedT]] = {}
    absent: dict[str, ServiceError] = {}
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
                _log.warning("not serving a model: %s", error.message)
                absent[model.name] = error
        if not served:
            why = "; ".join(error.message for error in absent.values()) or "the catalog has no model for this cluster"
            raise LoadError(f"no model to serve: {why}")
    except BaseException:
        await LoadedModels(served).close()
        raise
    return LoadedModels(served, absent=absent)


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
