"""The catalog of a new data directory, merged from those of the installed engines."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.engine import EngineSpec, installed_engines
from enginehouse.local.default_catalog import default_catalog
from enginehouse.local.errors import LocalError


def test_it_has_the_entries_and_comments_of_every_engine(tmp_path: Path) -> None:
    engines = installed_engines()
    text = default_catalog(engines.values())
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    merged = load_catalog(path)
    aliases = {}
    for spec in engines.values():
        path.write_text(spec.read_catalog())
        part = load_catalog(path)
        assert merged.for_cluster(spec.kind) == part.models
        aliases |= part.aliases
        assert all(line in text for line in spec.read_catalog().splitlines() if line.startswith("#"))
    assert merged.aliases == aliases


MODEL = """\
# The models of {cluster}.
models:
  # Small.
  - name: {name}
    cluster: {cluster}
    backend: b
    source: file:x
    capabilities: [chat]
"""


@pytest.fixture
def with_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], EngineSpec[Any]]]:
    """A function that returns a spec with a default catalog of the given text."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    spec = next(iter(installed_engines().values()))

    def make(kind: str, text: str) -> EngineSpec[Any]:
        package = f"catalog_of_{kind}"
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "catalog.yaml").write_text(text)
        importlib.invalidate_caches()
        return dataclasses.replace(spec, kind=kind, package=package, distribution=f"d-{kind}", catalog="catalog.yaml")

    yield make
    for kind in "ab":
        sys.modules.pop(f"catalog_of_{kind}", None)


def test_aliases_of_all_engines_are_merged(tmp_path: Path, with_catalog: Callable[[str, str], EngineSpec[Any]]) -> None:
    a = MODEL.format(name="m-a", cluster="a") + "\n# Other names.\naliases:\n  one: m-a\n  # Two.\n  two: auto\n"
    b = MODEL.format(name="m-b", cluster="b")
    text = default_catalog([with_catalog("a", a), with_catalog("b", b)])
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    merged = load_catalog(path)
    assert [model.name for model in merged.models] == ["m-a", "m-b"]
    assert merged.aliases == {"one": "m-a", "two": "auto"}
    comments = [line.strip() for line in text.splitlines() if line.startswith("  ") and "#" in line]
    assert comments == [
        "# The models of a.", "# Small.", "# The models of b.", "# Small.", "# Other names.", "# Two."
    ]  # fmt: skip


def test_two_engines_cannot_have_one_alias(with_catalog: Callable[[str, str], EngineSpec[Any]]) -> None:
    a, b = (
        with_catalog(kind, MODEL.format(name=f"m-{kind}", cluster=kind) + "aliases:\n  gpt-4o-mini: auto\n")
        for kind in "ab"
    )
    with pytest.raises(LocalError, match=r"d-b and d-a both have the alias 'gpt-4o-mini'"):
        default_catalog([a, b])


def test_without_engines_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(default_catalog([]))
    assert load_catalog(path).models == ()


def test_a_part_in_another_form_is_refused() -> None:
    spec = dataclasses.replace(next(iter(installed_engines().values())), catalog="__init__.py")
    with pytest.raises(LocalError, match="invalid default catalog __init__.py: it must start with"):
        default_catalog([spec])
