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


def write(tmp_path: Path, *models: dict[str, Any], aliases: Any = None) -> Path:
    path = tmp_path / "catalog.yaml"
    document = {"models": list(models)} | ({} if aliases is None else {"aliases": aliases})
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
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


def test_how_long_a_model_stays_may_be_left_to_the_engine(tmp_path: Path) -> None:
    entries = [TINY] + [TINY | {"name": f"m{n}", "keep_alive_s": n} for n in (-1, 0, 90, 0.5)]
    stays = {model.name: model.keep_alive_s for model in load_catalog(write(tmp_path, *entries)).models}
    assert stays == {"m-1": -1, "m0": 0, "m90": 90, "m0.5": 0.5, "tiny": None}


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
        ({"keep_alive_s": -0.5}, ["keep_alive_s", "-1 to keep it loaded", "-0.5"]),
        ({"keep_alive_s": -2}, ["keep_alive_s", "-2"]),
        ({"keep_alive_s": "5m"}, ["keep_alive_s", "'5m'"]),
        ({"languages": ["English"]}, ["languages", "'English'", "'en-GB'"]),
        ({"languages": ["e"]}, ["languages", "'e'"]),
        ({"languages": [False]}, ["languages", "quote it"]),
        ({"languages": [7]}, ["languages.0", "7"]),
        ({"languages": "en"}, ["languages", "'en'"]),
    ],
)
def test_errors_name_the_model_and_the_key(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_catalog(write(tmp_path, {**TINY, **change}))
    for word in ["catalog.yaml", "models[0]", *words]:
        assert word in str(caught.value)


def test_languages_are_written_one_way(tmp_path: Path) -> None:
    tags = ["EN", "en_gb", "sr-latn-rs", "te", "TE", "en-GB-x-RP"]
    tiny = load_catalog(write(tmp_path, {**TINY, "languages": tags})).get("tiny")
    assert tiny is not None
    assert tiny.languages == ("en", "en-GB", "sr-Latn-RS", "te", "en-GB-x-rp")


def test_a_model_without_languages_declares_none(tmp_path: Path) -> None:
    assert [model.languages for model in load_catalog(write(tmp_path, TINY)).models] == [()]
    assert [model.languages for model in load_catalog(write(tmp_path, {**TINY, "languages": None})).models] == [()]


def test_an_alias_stands_for_a_model_or_for_auto(tmp_path: Path) -> None:
    catalog = load_catalog(write(tmp_path, TINY, aliases={"gpt-4o-mini": "auto", "chat/default": "tiny"}))
    assert catalog.aliases == {"chat/default": "tiny", "gpt-4o-mini": "auto"}
    assert [catalog.resolve(name) for name in ("gpt-4o-mini", "chat/default", "tiny", "absent")] == [
        "auto",
        "tiny",
        "tiny",
        "absent",
    ]
    assert catalog.get("gpt-4o-mini") is None


def test_a_catalog_may_have_no_aliases(tmp_path: Path) -> None:
    path = write(tmp_path, TINY)
    path.write_text(path.read_text() + "aliases:\n")
    assert load_catalog(path).aliases == {}


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        ({"tiny": "tiny"}, ["'tiny' is the name of a model"]),
        ({"auto": "tiny"}, ["'auto'"]),
        ({"a b": "tiny"}, ["'a b'"]),
        ({7: "tiny"}, ["7"]),
        ({"a": "tyny"}, ["a: 'tyny'", "did you mean 'tiny'"]),
        ({"a": 7}, ["a: 7"]),
        ({"a": "b", "b": "tiny"}, ["a: 'b' is an alias itself", "name its model"]),
        ({"a": "a"}, ["a: 'a' is an alias itself"]),
        (["a"], ["must be a mapping"]),
    ],
)
def test_errors_name_the_alias(tmp_path: Path, aliases: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_catalog(write(tmp_path, TINY, aliases=aliases))
    for word in ["catalog.yaml: aliases", *words]:
        assert word in str(caught.value)


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'tiny' is given twice"):
        load_catalog(write(tmp_path, TINY, TINY))


def test_unknown_top_level_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("model: []")
    with pytest.raises(ConfigError, match="did you mean 'models'"):
        load_catalog(path)
