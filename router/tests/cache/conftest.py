"""Fixtures: a router's cache and its clock."""

from __future__ import annotations

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from router.tests.harness.cache import CacheClock, CacheReplica


@pytest.fixture
def clock() -> CacheClock:
    return CacheClock()


@pytest.fixture
async def replica(database: AsyncEngine, clock: CacheClock) -> CacheReplica:
    made = CacheReplica(database, clock=clock)
    await made.rules.reload()
    return made
