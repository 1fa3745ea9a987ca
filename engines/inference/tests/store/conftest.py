"""A hub on a free port."""

from collections.abc import Iterator

import pytest

from engines.inference.tests.store.hub_server import Hub, serve


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    server = serve(hub)
    yield hub
    server.shutdown()
    server.server_close()
