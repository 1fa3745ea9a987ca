"""A runtime, a clock and a catalog for tests of loading."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.loading import LoadingSettings, ServedModel, ServedModels, serve_models

MIB = 2**20


class Clock:
    """A clock that the test moves; implements `LoadingClock`."""

    def __init__(self) -> None:
        self._now = 100.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._numbers), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass, and whatever is due then happen."""
        until = self._now + seconds
        while self._timers and self._timers[0][0] <= until:
            self._now, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.callback()
            await settled()
        self._now = until
        await settled()

    @property
    def pending(self) -> int:
        """The number of callbacks that wait."""
        return sum(not timer.cancelled for _, _, timer in self._timers)


class Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


async def settled() -> None:
    """Let every task run until it waits for something; freeing memory is done in a thread."""
    for _ in range(20):
        await asyncio.sleep(0)
    while any(task.get_name().startswith("unload-") and not _waits(task) for task in asyncio.all_tasks()):
        await asyncio.sleep(0.001)


def _waits(task: asyncio.Task[Any]) -> bool:
    """Return whether an unload waits for its test, in a `Toy` that closes when it is told to."""
    frames = task.get_stack()
    coroutine: Any = task.get_coro()
    while coroutine is not None and getattr(coroutine, "cr_await", None) is not None:
        if coroutine.__qualname__ == "Toy.close":
            return True
        coroutine = coroutine.cr_await
    return not frames


@dataclass(frozen=True)
class Info:
    slots: int = 2
    memory_bytes: int = 100 * MIB
    measured: bool = False


class Toy:
    """A loaded model that does nothing."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self._name = name
        self.info = Info(memory_bytes=runtime.sizes.get(name, 100) * MIB, measured=True)
        self.closed = False

    async def close(self) -> None:
        assert not self.closed, "closed twice"
        await self._runtime.may_close.wait()
        self.closed = True
        self._runtime.living.remove(self._name)


@dataclass
class Runtime:
    """A loader whose loads end when the test lets them; implements `Loader`."""

    name: str = "toy"
    sizes: dict[str, int] = field(default_factory=dict)
    """The models' sizes in MiB; 100 if not named."""
    absent: set[str] = field(default_factory=set)
    living: list[str] = field(default_factory=list)
    """The models that hold memory, in the order of their loads."""
    loads: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    """Raised by the next loads, first one first."""
    may_load: asyncio.Event = field(default_factory=asyncio.Event)
    may_close: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_load.set()
        self.may_close.set()

    async def inspect(self, model: CatalogModel) -> Info:
        if model.options:
            raise ServiceError(Reason.INVALID_REQUEST, f"{model.name}: unknown option")
        if model.name in self.absent:
            raise ServiceError(Reason.WEIGHTS_ABSENT, f"the weights of {model.name!r} are not here")
        return Info(memory_bytes=self.sizes.get(model.name, 100) * MIB)

    async def load(self, model: CatalogModel) -> Toy:
        assert model.name not in self.living, "loaded twice at once"
        self.loads.append(model.name)
        self.living.append(model.name)
        try:
            await self.may_load.wait()
            if self.failures:
                raise self.failures.pop(0)
        except BaseException:
            self.living.remove(model.name)
            raise
        return Toy(self, model.name)


def toy_model(name: str, **changes: Any) -> CatalogModel:
    values: dict[str, Any] = {
        "name": name, "cluster": "toy", "backend": "toy", "source": "toy", "context_tokens": 0, "max_output_tokens": 0,
        "capabilities": frozenset(), "quality": 0, "prices": {}, "options": {},
    }  # fmt: skip
    return CatalogModel(**(values | changes))


@dataclass
class Served:
    """Models `a`, `b` and `c` of a runtime, on a clock of their own."""

    models: ServedModels[Info, Toy]
    runtime: Runtime
    clock: Clock

    def __getitem__(self, name: str) -> ServedModel[Info, Toy]:
        return self.models.served[name]

    async def used(self, name: str) -> None:
        """Use a model for a moment."""
        async with self[name].use():
            pass
        await settled()


async def serve(
    *models: CatalogModel, runtime: Runtime | None = None, names: Sequence[str] = (), **settings: Any
) -> Served:
    runtime, clock = runtime or Runtime(), Clock()
    catalog = Catalog(models or [toy_model("a"), toy_model("b"), toy_model("c")])
    served = await serve_models(
        catalog, cluster="toy", backends=[runtime], names=names, settings=LoadingSettings(**settings), clock=clock
    )
    return Served(models=served, runtime=runtime, clock=clock)
