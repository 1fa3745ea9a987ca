"""One whole mesh for the session, started and called as its user would."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mesh import Mesh

# A machine that is busy otherwise takes longer to serve what a budget pays for than the default lets a request wait.
# Prompts are not counted, so that bounds are several times what requests cost.
_CONFIG = {
    "gateway": {"edge": {"authorization_timeout_s": 30}},
    "router": {"count_tokens_s": 0, "ledger": {"budget_wait_s": 20}},
}


@pytest.fixture(scope="session")
def mesh() -> Iterator[Mesh]:
    with Mesh.started(config=_CONFIG) as running:
        yield running
