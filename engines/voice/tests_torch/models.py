"""Load models of the tests from catalog entries."""

from __future__ import annotations

from pathlib import Path

from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Recogniser, VoiceBackend
from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend, OpenaiWhisperBackend
from enginehouse.engines.voice.backends.xtts import XttsBackend
from enginehouse.kit.catalog import CatalogModel


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
    backend: VoiceBackend = XttsBackend(models_dir=folder.parent)
    return await backend.load(catalog_model("xtts", f"file:{folder.name}", accept_licence=True, **options))


async def load_whisper(whispers: Path, runtime: str, **options: object) -> Recogniser:
    backend: VoiceBackend
    if runtime == "faster-whisper":
        backend, source = FasterWhisperBackend(models_dir=whispers), "file:folder"
    else:
        backend, source = OpenaiWhisperBackend(models_dir=whispers), "file:whisper.pt"
    loaded = await backend.load(catalog_model(runtime, source, **options))
    assert loaded.recogniser is not None
    return loaded.recogniser
