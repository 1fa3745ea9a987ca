"""The race at a size that a test can take; `python -m tests.chaos.race` runs it in full."""

from __future__ import annotations

import pytest

from tests.chaos.race import ROUTERS, Race, config
from tests.mesh import Mesh


@pytest.mark.timeout(400)
async def test_a_race_of_requests_and_kills_spends_no_more_than_the_budget_and_loses_nothing() -> None:
    with Mesh.started(config=config()) as mesh:
        names = mesh.processes()
        assert {f"router-{number}" for number in range(1, ROUTERS + 1)} <= set(names)
        report = await Race(mesh, requests=250, kills=6, paid_for=60, seed=7).run()
    assert report.settled <= report.limit
    assert len(report.completed) > 0
    assert len(report.refused) > 1
    assert len(report.killed) == 6
