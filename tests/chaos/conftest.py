"""A mesh with two text engines, for tests that kill its processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh import Mesh


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh.started(config={"local": {"engines": {"inference": 2}}}) as running:
        yield running
