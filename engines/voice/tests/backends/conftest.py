"""One espeak-ng and one PocketSphinx for all tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.backends.pocketsphinx import PocketsphinxBackend
from engines.voice.tests.backends.recordings import COUNT, DOOR, spoken
from engines.voice.tests.backends.speech import speaking
from engines.voice.tests.voice_engine import recognition_model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speaker() -> AsyncIterator[Any]:
    async with speaking(workers=2) as speaker:
        yield speaker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def recogniser() -> AsyncIterator[Any]:
    loaded = await PocketsphinxBackend().load(recognition_model(options={"workers": 2}))
    yield loaded.recogniser
    await loaded.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def count() -> Samples:
    return await spoken(COUNT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> Samples:
    return await spoken(DOOR)
