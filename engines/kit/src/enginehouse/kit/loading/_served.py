"""One model that an engine serves: loaded for its first call, kept while it is used, unloaded when it is idle."""

from __future__ import annotations

import asyncio
import enum
import logging
from types import TracebackType
from typing import Any, Generic, cast

from enginehouse.kit.calls.slots import Slots
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.current_call import LOAD_MS_HEADER, current_call
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.loading._interfaces import InfoT, LoadedT, Loader, LoadingClock, TimerHandle
from enginehouse.kit.loading._memory import ModelMemory, return_freed_memory

_log = logging.getLogger(__name__)

# Calls so soon after a failed load get its error, so that a model that cannot load is not loaded without end.
_RETRY_S = 1.0


class LoadState(enum.Enum):
    """The state of a model in an engine."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


class ServedModel(Generic[InfoT, LoadedT]):
    """A model of the catalog that this engine serves, whether or not it is loaded now.

    It is loaded once for all the calls that wait for it, whose cancellation does not stop that, and unloaded once
    nothing has used it for a while.

    Args:
        catalog: its catalog entry.
        info: its properties, as inspected.
        loader: the runtime that loads it.
        slots: admits its calls.
        keep_alive_s: seconds without use after which it is unloaded; 0 at once, -1 never.
        memory: bounds the memory of all models; it has no bound if left out.
        clock: measures idleness; the event loop if left out.
    """

    def __init__(
        self,
        *,
        catalog: CatalogModel,
        info: InfoT,
        loader: Loader[InfoT, LoadedT],
        slots: Slots,
        keep_alive_s: float = -1,
        memory: ModelMemory | None = None,
        clock: LoadingClock | None = None,
    ) -> None:
        self.catalog = catalog
        """Its catalog entry."""
        self.info = info
        """Its properties: as inspected until it was loaded once, as measured from then on."""
        self.slots = slots
        """Admits its calls; `hold` takes one."""
        self._loader = loader
        self._keep_alive_s = keep_alive_s
        self._memory = memory or ModelMemory(limit_mib=0, setting="memory_limit_mib")
        self._clock: LoadingClock = clock or asyncio.get_running_loop()
        self._loaded: LoadedT | None = None
        self._loading: asyncio.Task[Exception | None] | None = None
        self._users = 0
        self._timer: TimerHandle | None = None
        self._failure: tuple[float, Exception] | None = None
        self._closed = False
        self.unloading: asyncio.Task[None] | None = None
        """The task that frees it, while that runs."""
        self.idle_since = self._clock.time()
        """The time of its last use."""

    @property
    def name(self) -> str:
        """Its name in the catalog."""
        return self.catalog.name

    @property
    def memory_bytes(self) -> int:
        """The estimate of what it takes once loaded."""
        return self.info.memory_bytes

    @property
    def loaded(self) -> LoadedT | None:
        """The model while it is loaded, to look at; work with it inside `hold` or `use`, which keep it loaded."""
        return self._loaded

    @property
    def idle(self) -> bool:
        """True if it is loaded and nothing uses it."""
        return self._loaded is not None and not self._users

    @property
    def state(self) -> LoadState:
        """The state of the model."""
        if self._loaded is not None:
            return LoadState.LOADED
        if self.unloading is not None:
            return LoadState.UNLOADING
        return LoadState.UNLOADED if self._loading is None else LoadState.LOADING

    def hold(self) -> ModelUse[LoadedT]:
        """Return a block that holds a slot of the model for a call; the model is loaded if need be.

        Entering it raises:
            ServiceError: ENGINE_BUSY if the queue for a slot is full; else as `use` does.
        """
        return ModelUse(self, self.slots)

    def use(self) -> ModelUse[LoadedT]:
        """Return a block that uses the model without a slot, for what costs it little; it is loaded if need be.

        Entering it raises:
            ServiceError: why it cannot be loaded: as the runtime says; ENGINE_BUSY if the models in use leave no memory
                for it; FAILED_PRECONDITION if it is larger than the memory limit; ENGINE_DRAINING after `close`.
        """
        return ModelUse(self)

    def unload(self) -> asyncio.Task[None]:
        """Begin to unload the model, which must be idle; calls that come now wait, and load it again."""
        loaded = self._loaded
        assert loaded is not None
        assert not self._users
        self._loaded = None
        self.unloading = asyncio.create_task(self._free(loaded), name=f"unload-{self.name}")
        return self.unloading

    async def settle(self) -> None:
        """Begin no further load, and wait for a load or an unload that runs."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        # Loading is not cancelled: it happens in threads, which go on, and would leave behind what they have loaded.
        while running := [task for task in (self._loading, self.unloading) if task is not None]:
            await asyncio.wait(running)

    async def close(self) -> None:
        """Free the model. Nothing may use it any more."""
        await self.settle()
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            self._memory.release(self)
            await loaded.close()

    async def _load_for_call(self) -> LoadedT:
        """Return the model once it is loaded; the caller is counted as a user, so that it stays so."""
        began = self._clock.time()
        while self._loaded is None:
            if self.unloading is not None:
                await asyncio.wait([self.unloading])
                continue
            if self._loading is None:
                self._check_loadable()
                self._loading = asyncio.create_task(self._load(), name=f"load-{self.name}")
            loading = self._loading
            await asyncio.wait([loading])
            if (error := loading.result()) is not None:
                raise error
        call = current_call.get()
        if call is not None:
            waited_ms = max(1, round((self._clock.time() - began) * 1000))
            call.lead(LOAD_MS_HEADER, str(waited_ms))
        return self._loaded

    def _check_loadable(self) -> None:
        if self._closed:
            raise ServiceError(Reason.ENGINE_DRAINING, "the engine is shutting down; call another one")
        if self._failure is not None:
            failed_at, error = self._failure
            if self._clock.time() - failed_at < _RETRY_S:
                raise error

    async def _load(self) -> Exception | None:
        """Load the model; return the error of a failure, which every waiting call raises."""
        try:
            await self._memory.reserve(self)
        except ServiceError as error:
            self._loading = None
            return error
        began = self._clock.time()
        try:
            loaded = await self._loader.load(self.catalog)
        except Exception as error:
            self._memory.release(self)
            failure = self._typed(error)
            self._failure = (self._clock.time(), failure)
            _log.warning("cannot load %s: %s", self.name, failure)
            return failure
        finally:
            self._loading = None
        self._loaded, self._failure = loaded, None
        # The type checker cannot know that a loader's models have infos of the loader's type.
        self.info = cast("InfoT", loaded.info)
        _log.info("loaded %s by %s in %.2f s", self.name, self._loader.name, self._clock.time() - began)
        if not self._users:
            # All the calls that waited have left.
            self._begin_idling()
        return None

    def _typed(self, failure: Exception) -> Exception:
        if not isinstance(failure, MemoryError):
            return failure
        error = ServiceError(
            Reason.BACKEND_FAILED,
            f"{self._loader.name} cannot load {self.name!r}: there is not enough memory for it (about "
            f"{self.memory_bytes >> 20} MiB); serve fewer models here, or set memory_limit_mib so that idle ones make "
            "room",
        )
        error.__cause__ = failure
        return error

    def _leave(self) -> None:
        self._users -= 1
        if not self._users and self._loaded is not None:
            self._begin_idling()

    def _begin_idling(self) -> None:
        self.idle_since = self._clock.time()
        if self._keep_alive_s < 0 or not self.memory_bytes or self._closed:
            return
        if not self._keep_alive_s:
            self.unload()
        elif self._timer is None:
            self._timer = self._clock.call_later(self._keep_alive_s, self._end_idling)

    def _end_idling(self) -> None:
        """Unload the model if it was idle for long enough; a use in between has not moved the timer."""
        self._timer = None
        if not self.idle or self._closed:
            return
        left_s = self.idle_since + self._keep_alive_s - self._clock.time()
        if left_s > 0:
            self._timer = self._clock.call_later(left_s, self._end_idling)
        else:
            self.unload()

    async def _free(self, loaded: LoadedT) -> None:
        try:
            await loaded.close()
            del loaded
            await asyncio.to_thread(return_freed_memory)
        except Exception:
            # It cannot be used any more, whatever it still holds.
            _log.exception("unloading %s failed", self.name)
        finally:
            self._memory.release(self)
            self.unloading = None
        _log.info("unloaded %s", self.name)


class ModelUse(Generic[LoadedT]):
    """The `async with` block around the use of a model. Made by `ServedModel.use` and `ServedModel.hold`.

    A class, since a generator would cost every call several times as much.
    """

    __slots__ = ("_served", "_slots")

    def __init__(self, served: ServedModel[Any, LoadedT], slots: Slots | None = None) -> None:
        self._served = served
        self._slots = slots

    async def __aenter__(self) -> LoadedT:
        served = self._served
        # Before it has a slot, so that the model is not unloaded under the calls that wait for one.
        served._users += 1
        if self._slots is not None:
            try:
                await self._slots.take()
            except BaseException:
                served._leave()
                raise
        loaded = served._loaded
        if loaded is None:
            try:
                loaded = await served._load_for_call()
            except BaseException:
                self._leave()
                raise
        return loaded

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._served._leave()
        if self._slots is not None:
            self._slots.give()
