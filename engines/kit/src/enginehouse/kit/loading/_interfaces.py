"""The interfaces of a runtime that loads models, and of what it loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from enginehouse.kit.catalog import CatalogModel


class LoadError(Exception):
    """The engine cannot start; the message has the fault and the fix."""


class ModelInfo(Protocol):
    """The properties of a model that are known without loading it."""

    @property
    def slots(self) -> int:
        """The number of requests that it works on at once."""

    @property
    def memory_bytes(self) -> int:
        """An estimate of the memory that it takes once loaded; 0 for a model that takes none, which stays loaded."""


InfoT = TypeVar("InfoT", bound=ModelInfo)
InfoT_co = TypeVar("InfoT_co", bound=ModelInfo, covariant=True)


class Loaded(Protocol[InfoT_co]):
    """A model that a runtime has loaded."""

    @property
    def info(self) -> InfoT_co:
        """Its properties, now as they were measured where the inspection could only assume; as many slots."""

    async def close(self) -> None:
        """End what runs and free the model."""


LoadedT = TypeVar("LoadedT", bound=Loaded[ModelInfo])
LoadedT_co = TypeVar("LoadedT_co", bound=Loaded[ModelInfo], covariant=True)


class Loader(Protocol[InfoT_co, LoadedT_co]):
    """A runtime that loads models of the catalog."""

    @property
    def name(self) -> str:
        """Its name in the catalog (`backend`)."""

    async def inspect(self, model: CatalogModel) -> InfoT_co:
        """Return a model's properties without loading it.

        Raises:
            ServiceError: WEIGHTS_ABSENT if its weights are not here; INVALID_REQUEST for options that it does not know.
        """

    async def load(self, model: CatalogModel) -> LoadedT_co:
        """Load a model.

        Raises:
            ServiceError: as `inspect` does; BACKEND_FAILED for weights that it cannot load.
        """


class TimerHandle(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Do not run it."""


class LoadingClock(Protocol):
    """The clock of idle models: the event loop, or a test's."""

    def time(self) -> float:
        """Return monotonic seconds."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> TimerHandle:
        """Run a callback after so many seconds."""
