"""A provider on a free port and the model that asks it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from enginehouse.engines.inference.backends.upstream import UpstreamBackend, UpstreamModel
from engines.inference.tests.upstream.scripted_provider import Provider, catalog_model

Load = Callable[..., Any]


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider.url = f"http://127.0.0.1:{port}/v1"
    yield provider
    provider.go_on.set()
    server.close()
    await server.wait_closed()


@pytest.fixture
async def load(provider: Provider) -> AsyncIterator[Load]:
    """Load the model `far` of the provider; its retries wait next to nothing."""
    loaded: list[UpstreamModel] = []

    async def load(**options: Any) -> UpstreamModel:
        backend = UpstreamBackend(environ={"FAR_KEY": "sk-secret"}, first_wait_s=0.001)
        model = await backend.load(catalog_model(provider.url, **options))
        loaded.append(model)
        return model

    yield load
    for model in loaded:
        await model.close()
