"""Shared fixtures: an engine with synthesis and recognition, one for all tests of a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from engines.voice.tests.voice_engine import VoiceClient, recognition_model, running_engine, speech_model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VoiceClient]:
    models = [speech_model(), recognition_model()]
    async with running_engine(models, directory=tmp_path_factory.mktemp("voice")) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def engine(shared_engine: VoiceClient) -> AsyncIterator[VoiceClient]:
    yield shared_engine
    await shared_engine.rest()
