"""One whole mesh for the session, started and called as its user would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh import Mesh

# A machine that is busy otherwise takes longer to serve what a budget pays for than the default lets a request wait.
_CONFIG = {"gateway": {"edge": {"authorization_timeout_s": 30}}, "router": {"ledger": {"budget_wait_s": 20}}}


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with Mesh.started(config=_CONFIG) as running:
        yield running
