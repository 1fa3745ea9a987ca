from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from enginehouse.api.gateway.v1.registry_pb2 import Engine, Load, ServedModel
from enginehouse.kit.server.registry import RegistryLease
from enginehouse.kit.testing import RegistryRecorder

ENGINE = Engine(
    engine_id="e-1", cluster="inference", address="127.0.0.1:1", models=[ServedModel(name="m")], capacity=4
)  # fmt: skip


async def test_an_engine_is_registered_while_its_lease_lasts(serve: Any) -> None:
    registry = RegistryRecorder()
    _, gateway = await serve(registry.add_to)
    lease = RegistryLease(gateway_address=str(gateway), engine=ENGINE, load=lambda: Load(active=2))
    lease.start()
    await asyncio.wait_for(lease.registered.wait(), 5)
    assert registry.live == {"e-1": ENGINE}
    assert registry.loads == [Load(active=2)]
    await lease.close()
    await registry.wait_until(lambda r: not r.live)
    await lease.close()


async def test_load_is_reported_when_it_changes_and_thrice_a_lease(serve: Any) -> None:
    registry = RegistryRecorder(lease_seconds=1)
    _, gateway = await serve(registry.add_to)
    load = Load()
    lease = RegistryLease(gateway_address=str(gateway), engine=ENGINE, load=lambda: load)
    lease.start()
    started = time.monotonic()
    await registry.wait_until(lambda r: len(r.loads) >= 5)
    assert time.monotonic() - started < 1 / 3 * 4 + 1
    load = Load(active=3, queued=1)
    await registry.wait_until(lambda r: r.loads[-1].active == 3)
    assert registry.registrations == 1
    await lease.close()


class Attempts:
    """Counts the readings of the load, of which each attempt to register makes one."""

    def __init__(self) -> None:
        self._count = 0

    def load(self) -> Load:
        self._count += 1
        return Load()

    async def wait_for(self, more: int) -> None:
        """Wait until as many more were made."""
        wanted = self._count + more
        async with asyncio.timeout(10):
            while self._count < wanted:
                await asyncio.sleep(0.01)


async def test_it_comes_back_with_the_gateway(serve: Any) -> None:
    registry = RegistryRecorder()
    server, gateway = await serve(registry.add_to)
    attempts = Attempts()
    lease = RegistryLease(gateway_address=str(gateway), engine=ENGINE, load=attempts.load)
    lease.start()
    await registry.wait_until(lambda r: bool(r.live))
    await server.drain()
    again = RegistryRecorder()
    await attempts.wait_for(3)
    assert not lease.registered.is_set()
    await serve(again.add_to, listen=str(gateway))
    back = time.monotonic()
    await again.wait_until(lambda r: bool(r.live))
    # Designed for 200 ms; the rest is for a busy machine.
    assert time.monotonic() - back < 1.0
    await lease.close()


async def test_it_closes_while_the_gateway_is_away(serve: Any) -> None:
    server, gateway = await serve()
    await server.drain()
    attempts = Attempts()
    lease = RegistryLease(gateway_address=str(gateway), engine=ENGINE, load=attempts.load)
    lease.start()
    await attempts.wait_for(1)
    await asyncio.wait_for(lease.close(), 5)


class Silent(RegistryRecorder):
    """A registry that accepts a registration and then hangs."""

    async def Register(self, request_iterator: Any, context: Any) -> Any:
        first = True
        async for response in super().Register(request_iterator, context):
            if first:
                yield response
            first = False
        await asyncio.Event().wait()


async def test_a_gateway_that_hangs_is_left_and_tried_again(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    registry = Silent(lease_seconds=1)
    _, gateway = await serve(registry.add_to)
    lease = RegistryLease(gateway_address=str(gateway), engine=ENGINE, load=Load)
    lease.start()
    await registry.wait_until(lambda r: r.registrations >= 2)
    assert "does not answer" in caplog.text
    await lease.close()
