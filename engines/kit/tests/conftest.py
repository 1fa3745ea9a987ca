"""Fixtures of the kit's own tests: grants, and a router's and a gateway's services on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from enginehouse.kit.addresses import Address
from enginehouse.kit.server import AddServicer, EngineServer
from enginehouse.kit.testing import GrantIssuer, UsageRecorder
from enginehouse.kit.usage import Spool

Serve = Callable[..., Awaitable[tuple[EngineServer, Address]]]


@pytest.fixture
def issuer() -> GrantIssuer:
    return GrantIssuer()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start servers that end with the test."""
    started: list[EngineServer] = []

    async def start(
        *services: AddServicer, listen: str = "127.0.0.1:0", **options: object
    ) -> tuple[EngineServer, Address]:
        server = EngineServer(listen=listen, services=services, drain_s=1.0, flush_s=1.0, **options)  # type: ignore[arg-type]
        started.append(server)
        return server, await server.start()

    yield start
    for server in reversed(started):
        await server.drain()


@pytest.fixture
def open_spool(tmp_path: Path) -> Callable[..., Spool]:
    """Open the test's spool; close it to open it again."""

    def open_it(**options: object) -> Spool:
        return Spool(directory=tmp_path / "spool", engine_id="engine-test", **options)  # type: ignore[arg-type]

    return open_it


@pytest.fixture
def recorder(issuer: GrantIssuer) -> UsageRecorder:
    return UsageRecorder(keys=issuer.keys)
