from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from enginehouse.api.common.v1.usage_pb2 import UNIT_INPUT_TOKENS
from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.config import ConfigError

TINY: dict[str, Any] = {
    "name": "tiny",
    "cluster": "inference",
    "backend": "llama.cpp",
    "source": "bundled:tiny.gguf",
    "context_tokens": 512,
    "max_output_tokens": 256,
    "capabilities": ["chat", "tools"],
    "quality": 0.1,
    "prices": {"input_tokens": 50_000_000},
    "options": {"slots": 4},
}


def write(tmp_path: Path, *models: dict[str, Any]) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump({"models": list(models)}), encoding="utf-8")
    return path


def test_a_catalog_is_read_and_sorted(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, TINY, {**TINY, "name": "a/small", "cluster": "voice", "region": "eu-1"}))
    assert [model.name for model in catalog.models] == ["a/small", "tiny"]
    tiny = catalog.get("tiny")
    assert tiny is not None
    assert tiny.prices == {UNIT_INPUT_TOKENS: 50_000_000}
    assert tiny.options == {"slots": 4}
    assert tiny.capabilities == {"chat", "tools"}
    assert [model.region for model in catalog.models] == ["eu-1", ""]
    assert catalog.get("absent") is None
    assert [model.name for model in catalog.for_cluster("voice")] == ["a/small"]


def test_an_empty_catalog_is_a_catalog(tmp_path: Path) -> None:
    assert load_catalog(write(tmp_path)).models == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prices": {"input_tokens": -1}}, ["tiny", "prices: input_tokens", "-1"]),
        ({"prices": {"input_tokens": 2**63}}, ["prices: input_tokens", str(2**63)]),
        ({"prices": {"input_tokens": 1.5}}, ["prices.input_tokens", "1.5", "valid integer"]),
        ({"prices": {"input_tokens": True}}, ["prices.input_tokens", "True", "valid integer"]),
        ({"prices": {"input_token": 1}}, ["'input_token'", "did you mean 'input_tokens'"]),
        ({"prices": [1]}, ["prices", "valid dictionary"]),
        ({"capabilities": ["chatt"]}, ["'chatt'", "did you mean 'chat'"]),
        ({"capabilities": "chat"}, ["capabilities", "valid list"]),
        ({"qualty": 1}, ["'qualty'", "did you mean 'quality'"]),
        ({"quality": 1.1}, ["quality", "1.1"]),
        ({"quality": float("nan")}, ["quality", "nan"]),
        ({"name": ""}, ["name"]),
        ({"name": "auto"}, ["'auto'"]),
        ({"name": "a b"}, ["'a b'"]),
        ({"cluster": "In"}, ["cluster", "'In'"]),
        ({"source": None}, ["source is required"]),
        ({"max_output_tokens": 513}, ["513", "512"]),
        ({"context_tokens": -1}, ["context_tokens", "-1"]),
        ({"context_tokens": 2**31}, ["context_tokens"]),
        ({"options": [1]}, ["options"]),
        ({"region": "Europe!"}, ["region", "'Europe!'"]),
        ({"region": 7}, ["region", "7"]),
    ],
)
def test_errors_name_the_model_and_the_key(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_catalog(write(tmp_path, {**TINY, **change}))
    for word in ["catalog.yaml", "models[0]", *words]:
        assert word in str(caught.value)


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'tiny' is given twice"):
        load_catalog(write(tmp_path, TINY, TINY))


def test_unknown_top_level_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("model: []")
    with pytest.raises(ConfigError, match="did you mean 'models'"):
        load_catalog(path)
