"""Pools of the tests' own child process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from enginehouse.engines.voice.workers import WorkerPool

MakePool = Callable[..., WorkerPool]


@pytest.fixture
async def make_pool(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakePool]:
    """Make pools that are closed at the end."""
    path = [str(pytestconfig.rootpath), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    pools: list[WorkerPool] = []

    def make(**options: Any) -> WorkerPool:
        settings = {"module": "engines.voice.tests.workers.echo_child", "size": 1, "name": "echo", **options}
        pools.append(WorkerPool(**settings))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()
