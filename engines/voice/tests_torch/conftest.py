"""Models for all the tests: they take their time to make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from enginehouse.engines.voice.backends.base import Backend, LoadedVoiceModel, Recogniser, Speaker
from enginehouse.engines.voice.backends.faster_whisper import FasterWhisperBackend
from enginehouse.engines.voice.backends.openai_whisper import OpenaiWhisperBackend
from enginehouse.engines.voice.backends.xtts import XttsBackend
from enginehouse.kit.catalog import CatalogModel

if TYPE_CHECKING:
    from whisper.model import Whisper

# What pytest reads wherever tests are collected may import no runtime: the makers of models are imported where used.


def catalog_model(backend: str, source: object, **options: object) -> CatalogModel:
    return CatalogModel(
        name="tiny",
        cluster="voice",
        backend=backend,
        source=str(source),
        context_tokens=0,
        max_output_tokens=0,
        capabilities=frozenset({"speech", "voice_clone"} if backend == "xtts" else {"transcription"}),
        quality=0.1,
        prices={},
        options=options,
    )


async def load_xtts(folder: Path, **options: object) -> LoadedVoiceModel:
    backend: Backend = XttsBackend(models_dir=folder.parent)
    return await backend.load(catalog_model("xtts", f"file:{folder.name}", accept_licence=True, **options))


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
    """A folder with the model in both runtimes' forms: `folder/` and `whisper.pt`."""
    from engines.voice.tests_torch.tiny_whisper import write_ctranslate2, write_openai

    at = tmp_path_factory.mktemp("whispers")
    write_ctranslate2(whisper_model, at / "folder")
    write_openai(whisper_model, at / "whisper.pt")
    return at


async def load_whisper(whispers: Path, runtime: str, **options: object) -> Recogniser:
    backend: Backend
    if runtime == "faster-whisper":
        backend, source = FasterWhisperBackend(models_dir=whispers), "file:folder"
    else:
        backend, source = OpenaiWhisperBackend(models_dir=whispers), "file:whisper.pt"
    loaded = await backend.load(catalog_model(runtime, source, **options))
    assert loaded.recogniser is not None
    return loaded.recogniser


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["faster-whisper", "openai-whisper"])
async def recogniser(whispers: Path, request: pytest.FixtureRequest) -> AsyncIterator[Recogniser]:
    """Both, one after the other. They take all sounds for speech: what the tests say is no language."""
    loaded = await load_whisper(whispers, request.param, device="cpu", vad=False)
    yield loaded
    await loaded.close()
