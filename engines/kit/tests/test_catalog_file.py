"""Changes of a catalog file: the wanted one is made, and every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.catalog_file import add_entry, edit_entry, remove_entry
from enginehouse.kit.config import ConfigError

TEXT = """\
# The models of this house.
models:
  # Small and cheap.
  - name: small  # its name
    cluster: inference
    backend: llama.cpp
    source: file:/small.gguf
    capabilities: [chat]  # and no more
    quality: 0.1  # measured
    prices:  # nano-dollars
      input_tokens: 5
      output_tokens: 7

  # The large one
  # has two lines of comment.
  - name: large
    cluster: inference
    backend: llama.cpp
    source: file:/large.gguf
    capabilities:
      - chat
      - tools
    options:
      # its slots
      slots: 4
    quality: 0.5
  # - name: off
  #   cluster: inference
  - {name: flow, cluster: inference, backend: llama.cpp, source: "file:/f.gguf", capabilities: [chat], quality: 0.2}

# Names of others.
aliases:
  gpt: large
  mini: small
# The end.
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def changed_lines(path: Path) -> tuple[list[str], list[str]]:
    """The lines of the text that are gone, and those that are new."""
    old, new = TEXT.splitlines(), path.read_text(encoding="utf-8").splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_value_is_changed_in_its_line(catalog: Path) -> None:
    before, after = edit_entry(catalog, "small", {"quality": 0.3})
    assert (before.quality, after.quality) == (0.1, 0.3)
    assert changed_lines(catalog) == (["    quality: 0.1  # measured"], ["    quality: 0.3  # measured"])


def test_blocks_are_replaced_and_new_keys_added(catalog: Path) -> None:
    edit_entry(catalog, "large", {"capabilities": ["chat"], "languages": ["en", "te"], "options": {"slots": 2}})
    model = load_catalog(catalog).get("large")
    assert model is not None
    assert (model.capabilities, model.languages, dict(model.options)) == ({"chat"}, ("en", "te"), {"slots": 2})
    gone, _ = changed_lines(catalog)
    assert gone == ["      - chat", "      - tools", "      # its slots", "      slots: 4"]
    edit_entry(catalog, "small", {"prices": {"input_tokens": 6}, "region": "eu"})
    model = load_catalog(catalog).get("small")
    assert model is not None
    assert (list(model.prices.values()), model.region) == ([6], "eu")


def test_keys_are_removed(catalog: Path) -> None:
    edit_entry(catalog, "large", {"options": None, "quality": None})
    model = load_catalog(catalog).get("large")
    assert model is not None
    assert (dict(model.options), model.quality) == ({}, 0.0)
    assert "# - name: off" in catalog.read_text(encoding="utf-8")


def test_an_entry_on_one_line_is_changed_too(catalog: Path) -> None:
    edit_entry(catalog, "flow", {"quality": 0.4, "options": {"slots": 3}})
    model = load_catalog(catalog).get("flow")
    assert model is not None
    assert (model.quality, dict(model.options)) == (0.4, {"slots": 3})


@pytest.mark.parametrize("name", ["small", "large", "flow"])
def test_every_edit_leaves_the_others(catalog: Path, name: str) -> None:
    others = [model for model in load_catalog(catalog).models if model.name != name]
    for changes in (
        {"quality": 1.0},
        {"prices": {"output_tokens": 1}},
        {"source": "file:/x: y #z.gguf"},
        {"region": "eu"},
    ):
        edit_entry(catalog, name, changes)
        edit_entry(catalog, name, {key: None for key in changes if key not in ("source", "quality")})
    assert [model for model in load_catalog(catalog).models if model.name != name] == others
    assert load_catalog(catalog).get(name).source == "file:/x: y #z.gguf"  # type: ignore[union-attr]
    for line in ("# The end.", "# Names of others.", "  # has two lines of comment.", "  # Small and cheap."):
        assert line in catalog.read_text(encoding="utf-8").splitlines()


def test_an_entry_is_removed_with_its_comments(catalog: Path) -> None:
    with pytest.raises(ConfigError, match="gpt is an alias of 'large'; give --with-aliases"):
        remove_entry(catalog, "large")
    assert catalog.read_text(encoding="utf-8") == TEXT
    remove_entry(catalog, "large", with_aliases=True)
    found = load_catalog(catalog)
    assert [model.name for model in found.models] == ["flow", "small"]
    assert dict(found.aliases) == {"mini": "small"}
    text = catalog.read_text(encoding="utf-8")
    assert "The large one" not in text
    assert "# - name: off" in text
    assert "# nano-dollars" in text


def test_all_entries_can_be_removed_and_added_again(catalog: Path) -> None:
    for name in ("flow", "small", "large"):
        remove_entry(catalog, name, with_aliases=True)
    assert load_catalog(catalog).models == ()
    assert "# The end." in catalog.read_text(encoding="utf-8")
    entry = {
        "name": "new",
        "cluster": "inference",
        "backend": "llama.cpp",
        "source": "file:/n.gguf",
        "capabilities": [],
    }
    assert add_entry(catalog, entry).name == "new"


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"quality": 2.0}, "quality"), ({"prices": {"words": 1}}, "unknown unit"), ({"name": "flow"}, "given twice")],
)
def test_an_invalid_change_is_refused_and_nothing_is_written(
    catalog: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        edit_entry(catalog, "small", changes)
    assert catalog.read_text(encoding="utf-8") == TEXT
    assert [path.name for path in catalog.parent.iterdir()] == ["catalog.yaml"]


def test_unknown_names_are_told_with_the_nearest(catalog: Path) -> None:
    with pytest.raises(ConfigError, match="no model 'smal'; did you mean 'small'"):
        edit_entry(catalog, "smal", {"quality": 1.0})
    with pytest.raises(ConfigError, match="'gpt' is an alias"):
        remove_entry(catalog, "gpt")
