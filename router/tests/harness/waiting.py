"""Waiting on conditions of other processes, which nothing signals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def wait_until(probe: Callable[[], Awaitable[T]], wanted: T, *, within_s: float = 10) -> None:
    """Wait until a probe returns the wanted value. Raises AssertionError with the last value after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = await probe()
        if found == wanted:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {within_s} s, not {wanted!r}")
        await asyncio.sleep(0.05)


async def wait_for(condition: Callable[[], object], *, within_s: float = 60) -> None:
    """Wait until a condition of this process holds. Raises TimeoutError after `within_s`."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
