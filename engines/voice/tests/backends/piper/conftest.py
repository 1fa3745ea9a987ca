"""One Piper for all tests of a file; its speech does not vary."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from engines.voice.tests.backends.piper.voices import STEADY, piper


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speaker() -> AsyncIterator[Any]:
    async with piper(**STEADY) as speaker:
        yield speaker
