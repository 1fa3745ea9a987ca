"""The catalog of a new data directory, merged from those of the installed engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.engine import installed_engines
from enginehouse.local.default_catalog import default_catalog
from enginehouse.local.errors import LocalError


def test_it_has_the_entries_and_comments_of_every_engine(tmp_path: Path) -> None:
    engines = installed_engines()
    text = default_catalog(engines.values())
    path = tmp_path / "catalog.yaml"
    path.write_text(text)
    merged = load_catalog(path)
    for spec in engines.values():
        path.write_text(spec.read_catalog())
        assert merged.for_cluster(spec.kind) == load_catalog(path).models
        assert all(line in text for line in spec.read_catalog().splitlines() if line.startswith("#"))


def test_without_engines_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(default_catalog([]))
    assert load_catalog(path).models == ()


def test_a_part_in_another_form_is_refused() -> None:
    spec = dataclasses.replace(next(iter(installed_engines().values())), catalog="__init__.py")
    with pytest.raises(LocalError, match="invalid default catalog __init__.py: it must start with"):
        default_catalog([spec])
