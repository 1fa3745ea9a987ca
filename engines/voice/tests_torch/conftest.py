"""Models shared by all tests: they are slow to make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from enginehouse.engines.voice.backends.base import Recogniser, Speaker
from engines.voice.tests_torch.models import load_whisper, load_xtts

if TYPE_CHECKING:
    from whisper.model import Whisper

# pytest imports this file wherever tests are collected: it must not import a runtime, so functions import it on use.


@pytest.fixture(scope="session")
def xtts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from engines.voice.tests_torch.tiny_xtts import write_tiny_xtts

    return write_tiny_xtts(tmp_path_factory.mktemp("xtts"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def speaker(xtts_folder: Path) -> AsyncIterator[Speaker]:
    loaded = await load_xtts(xtts_folder, device="cpu")
    assert loaded.speaker is not None
    yield loaded.speaker
    await loaded.close()


@pytest.fixture(scope="session")
def whisper_model() -> Whisper:
    from engines.voice.tests_torch.tiny_whisper import make_tiny_whisper

    return make_tiny_whisper()


@pytest.fixture(scope="session")
def whispers(whisper_model: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model in both runtimes' formats: `folder/` and `whisper.pt`."""
    from engines.voice.tests_torch.tiny_whisper import write_ctranslate2, write_openai

    at = tmp_path_factory.mktemp("whispers")
    write_ctranslate2(whisper_model, at / "folder")
    write_openai(whisper_model, at / "whisper.pt")
    return at


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["faster-whisper", "openai-whisper"])
async def recogniser(whispers: Path, request: pytest.FixtureRequest) -> AsyncIterator[Recogniser]:
    """Both recognisers, one after the other, without voice activity detection: the tests' sounds are no speech."""
    loaded = await load_whisper(whispers, request.param, device="cpu", vad=False)
    yield loaded
    await loaded.close()
