"""Installed engines, and distributions that break their discovery."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from enginehouse.kit.engine import installed_engines
from enginehouse.local.engines import find_engines
from enginehouse.local.errors import LocalError


def install(site: Path, *, kind: str, module: str) -> None:
    """Install a distribution with an engine, as its metadata says."""
    (site / "mine.py").write_text(module)
    metadata = site / "mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[enginehouse.engines]\n{kind} = mine:SPEC\n")


def test_the_engines_of_the_workspace_are_found() -> None:
    assert find_engines() == installed_engines() != {}


@pytest.mark.parametrize(
    ("kind", "module", "problem"),
    [
        ("mine", "import no_such_module\n", "broken engine: No module named 'no_such_module'; reinstall or uninstall"),
        ("mine", "", "broken engine: .*SPEC"),
        ("mine", "SPEC = 3\n", "broken engine: .*is not an EngineSpec"),
        (
            "router",
            "from enginehouse.kit.engine import EngineSection, EngineSpec\n"
            "SPEC = EngineSpec(kind='router', package='mine', distribution='mine', config=EngineSection, build=None)\n",
            "engine kind 'router' is reserved; uninstall mine",
        ),
    ],
)
def test_a_broken_engine_is_named(
    kind: str, module: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    install(tmp_path, kind=kind, module=module)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LocalError, match=problem):
        find_engines()
