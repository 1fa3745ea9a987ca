"""A pool of one decoder process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from enginehouse.engines.voice.audio import DecoderPool


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    pool = DecoderPool(size=1)
    yield pool
    await pool.close()
