"""One whole mesh for the session, started and called as its user would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh import Mesh


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with Mesh.started() as running:
        yield running
