"""Fixtures: PostgreSQL and a new database for a test, routers as processes, and the servers around them."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.database import open_database
from router.tests.harness.identity_provider import IdentityProviderServer, SigningKey
from router.tests.harness.ledger import LedgerHarness
from router.tests.harness.postgres import PostgresCluster
from router.tests.harness.redis_server import RedisServer
from router.tests.harness.registry import RegistryServer
from router.tests.harness.router_process import RouterFactory, RouterProcess, running_pair
from router.tests.harness.webhook import Webhook


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    # Not below pytest's own folder: a socket's path may have 107 bytes, and other runs tidy up there.
    with tempfile.TemporaryDirectory(prefix="eh-pg-", ignore_cleanup_errors=True) as directory:
        cluster = PostgresCluster(Path(directory))
        asyncio.run(cluster.prepare())
        yield cluster
        cluster.close()


@pytest.fixture
async def database_uri(postgres: PostgresCluster) -> AsyncIterator[str]:
    """The URL of a database of the test's own."""
    uri = await postgres.create_database()
    yield uri
    await postgres.drop_database(uri)


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[AsyncEngine]:
    engine = open_database(database_uri)
    yield engine
    await engine.dispose()


@pytest.fixture
async def harness(database: AsyncEngine) -> LedgerHarness:
    """A ledger without budgets."""
    harness = LedgerHarness(database)
    await harness.prepare()
    return harness


@pytest.fixture(scope="session")
def shared_registry() -> Iterator[RegistryServer]:
    server = RegistryServer()
    yield server
    server.stop()


@pytest.fixture
def registry(shared_registry: RegistryServer) -> Iterator[RegistryServer]:
    """The registry of all routers, with one engine."""
    shared_registry.reset()
    yield shared_registry
    shared_registry.reset()


@pytest.fixture(scope="session")
def shared_router_process(
    postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory, shared_registry: RegistryServer
) -> Iterator[RouterProcess]:
    router = RouterProcess(
        tmp_path_factory.mktemp("router"),
        database_uri=asyncio.run(postgres.create_database()),
        gateway_port=shared_registry.port,
    )
    asyncio.run(router.create_first_key())
    router.start()
    yield router
    assert router.stop() == 0
    router.close()


@pytest.fixture
async def shared_router(shared_router_process: RouterProcess, registry: RegistryServer) -> AsyncIterator[RouterProcess]:
    """A running router with its first key; the same one for every test that does not hurt it."""
    await shared_router_process.ready()
    await shared_router_process.knows_its_engine()
    yield shared_router_process
    await shared_router_process.disconnect()


@pytest.fixture(scope="session")
def shared_pair_processes(
    postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory, shared_registry: RegistryServer
) -> Iterator[tuple[RouterProcess, RouterProcess]]:
    uri = asyncio.run(postgres.create_database())
    with running_pair(tmp_path_factory.mktemp("pair"), database_uri=uri, gateway_port=shared_registry.port) as pair:
        yield pair


@pytest.fixture
async def shared_pair(
    shared_pair_processes: tuple[RouterProcess, RouterProcess], registry: RegistryServer
) -> AsyncIterator[tuple[RouterProcess, RouterProcess]]:
    """Two running routers on one database, the same for every test that cleans up behind itself."""
    for router in shared_pair_processes:
        await router.ready()
        await router.knows_its_engine()
    yield shared_pair_processes
    for router in shared_pair_processes:
        await router.disconnect()


@pytest.fixture
async def make_router(tmp_path: Path, database_uri: str, registry: RegistryServer) -> AsyncIterator[RouterFactory]:
    """A factory of router processes on one database; they end with the test."""
    factory = RouterFactory(tmp_path, database_uri=database_uri, gateway_port=registry.port)
    yield factory
    await factory.close()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running server of the test's own."""
    # Not below pytest's own folder: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="eh-redis-") as directory:
        server = RedisServer(Path(directory))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    receiver = Webhook()
    yield receiver
    receiver.close()


@pytest.fixture
def provider() -> Iterator[IdentityProviderServer]:
    """An identity provider with one key."""
    server = IdentityProviderServer()
    server.keys = [SigningKey("first", "RS256")]
    yield server
    server.stop()
