"""A scripted server, and both clients to connect to it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from clients.python.tests.harness.drivers import AsyncDriver, Connect, Driver, SyncDriver
from clients.python.tests.harness.server import ScriptedServer


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A running server with an empty script."""
    server = ScriptedServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=[SyncDriver, AsyncDriver], ids=["sync", "asyncio"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """A factory of clients, which are closed at the end."""
    drivers: list[Driver] = []

    def make(url: str, **options: Any) -> Driver:
        driver: Driver = request.param(url, **options)
        drivers.append(driver)
        return driver

    yield make
    for driver in drivers:
        await driver.close()


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
