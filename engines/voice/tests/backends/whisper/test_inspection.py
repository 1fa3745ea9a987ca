"""A Whisper model is described by the files beside its weights, which are not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.voice_engine import recognition_model

WEIGHTS_BYTES = 1000


def folder(at: Path, *, tokens: int, plain: bool = False, **changes: str) -> Path:
    """Write the files of a converted model with so many tokens and no weights worth the name."""
    at.mkdir()
    words = [f"t{number}" for number in range(tokens)]
    files = {"config.json": "{}", "tokenizer.json": "{}", "model.bin": "x" * WEIGHTS_BYTES}
    files |= {"vocabulary.txt": "\n".join(words)} if plain else {"vocabulary.json": json.dumps(words)}
    for name, text in (files | changes).items():
        (at / name).write_text(text)
    return at


async def inspected(at: Path, **options: Any) -> Any:
    model = recognition_model(backend="faster-whisper", source=f"file:{at}", options=options)
    return await FasterWhisperBackend(models_dir=at.parent).inspect(model)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("tokens", "languages"), [(51_864, 1), (51_865, 99), (51_866, 100)])
async def test_the_vocabulary_tells_its_languages(tmp_path: Path, tokens: int, languages: int, plain: bool) -> None:
    info = (await inspected(folder(tmp_path / "w", tokens=tokens, plain=plain))).recogniser
    assert len(info.languages) == languages
    assert info.languages[0] == "en"
    assert ("te" in info.languages, "yue" in info.languages) == (languages > 1, languages == 100)
    assert info.translates is (languages > 1)


async def test_slots_and_memory_are_known(tmp_path: Path) -> None:
    at = folder(tmp_path / "w", tokens=51_865)
    small, wide = await inspected(at), await inspected(at, slots=3)
    assert (small.slots, wide.slots) == (1, 3)
    assert WEIGHTS_BYTES < small.memory_bytes < wide.memory_bytes


async def test_a_damaged_vocabulary_is_named(tmp_path: Path) -> None:
    at = folder(tmp_path / "w", tokens=9, **{"vocabulary.json": "{nothing"})
    with pytest.raises(ServiceError) as refused:
        await inspected(at)
    assert refused.value.reason is Reason.BACKEND_FAILED
    assert "vocabulary.json cannot be loaded" in refused.value.message
