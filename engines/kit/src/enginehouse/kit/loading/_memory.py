"""The bound on the memory of an engine's loaded models, and the return of freed memory to the system."""

from __future__ import annotations

import asyncio
import ctypes
from typing import Protocol

from enginehouse.kit.errors import Reason, ServiceError

MIB = 2**20
_RETRY_S = 5.0


class Evictable(Protocol):
    """A model as the memory's owner sees it."""

    @property
    def name(self) -> str:
        """Its name, for errors."""

    @property
    def memory_bytes(self) -> int:
        """The estimate of what it takes once loaded."""

    @property
    def idle(self) -> bool:
        """True if it is loaded and nothing uses it."""

    @property
    def idle_since(self) -> float:
        """The time of its last use."""

    @property
    def unloading(self) -> asyncio.Task[None] | None:
        """The task that frees it, while that runs."""

    def unload(self) -> asyncio.Task[None]:
        """Begin to free it, which must be idle."""


class ModelMemory:
    """The memory that the loaded models of an engine may take together, by their estimates.

    Args:
        limit_mib: the bound; 0 for none.
        setting: the setting that the bound comes from, for errors.
    """

    def __init__(self, *, limit_mib: int, setting: str) -> None:
        self.limit_bytes = limit_mib * MIB
        """The bound; 0 for none."""
        self._setting = setting
        self._taken: dict[Evictable, int] = {}

    @property
    def taken_bytes(self) -> int:
        """The estimates of all models that are loaded, being loaded or being unloaded."""
        return sum(self._taken.values())

    async def reserve(self, model: Evictable) -> None:
        """Take a model's memory, after unloading idle models if there is too little, least recently used first.

        Raises:
            ServiceError: FAILED_PRECONDITION for a model larger than the bound; ENGINE_BUSY where the models in use
                leave too little.
        """
        needed = model.memory_bytes
        if self.limit_bytes:
            self.check_size(model)
            while (lacking := self.taken_bytes + needed - self.limit_bytes) > 0:
                await self._free(lacking, for_model=model)
        self._taken[model] = needed

    def release(self, model: Evictable) -> None:
        """Give a model's memory back."""
        self._taken.pop(model, None)

    def check_size(self, model: Evictable) -> None:
        """Refuse a model that is larger than the bound."""
        if self.limit_bytes and model.memory_bytes > self.limit_bytes:
            raise ServiceError(
                Reason.FAILED_PRECONDITION,
                f"the model {model.name!r} needs about {_mib(model.memory_bytes)}, more than {self._setting} allows "
                f"({_mib(self.limit_bytes)} for all models together); raise it, or leave the model out",
            )

    async def _free(self, lacking: int, *, for_model: Evictable) -> None:
        """Free the memory of one idle model, or wait for one that is being unloaded."""
        leaving = {held: task for held in self._taken if (task := held.unloading) is not None}
        idle = [held for held in self._taken if held.idle]
        if sum(self._taken[held] for held in (*leaving, *idle)) < lacking:
            raise self._busy(for_model, [held for held in self._taken if held not in leaving and not held.idle])
        if leaving:
            await asyncio.wait(leaving.values(), return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.wait([min(idle, key=lambda held: held.idle_since).unload()])

    def _busy(self, model: Evictable, in_use: list[Evictable]) -> ServiceError:
        using = " and ".join(f"{held.name!r} ({_mib(self._taken[held])})" for held in in_use)
        return ServiceError(
            Reason.ENGINE_BUSY,
            f"no memory to load {model.name!r} ({_mib(model.memory_bytes)}) while {using} is in use: {self._setting} "
            f"allows {_mib(self.limit_bytes)} for all models; retry later, or raise it",
            retry_after_s=_RETRY_S,
        )


def return_freed_memory() -> None:
    """Return memory that was freed to the system, where the C library would keep it for later."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        # Not glibc: others return it by themselves, or cannot.
        return
    trim(0)


def _mib(size: int) -> str:
    return f"{-(-size // MIB)} MiB"
