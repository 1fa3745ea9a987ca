"""The packages whose types are checked."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

from checks import python

Write = Callable[[str, str], None]


def test_packages_are_those_of_the_workspaces_members(tree: pathlib.Path, write: Write) -> None:
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["engines/*", "proto/python", "router"]\n')
    write("engines/song/src/enginehouse/engines/song/py.typed", "")
    write("engines/kit/src/enginehouse/kit/py.typed", "")
    write("proto/python/src/enginehouse/api/py.typed", "")
    write("router/src/enginehouse/router/py.typed", "")
    write("elsewhere/src/enginehouse/elsewhere/py.typed", "")
    assert python.packages(tree) == ["enginehouse.kit", "enginehouse.engines.song", "enginehouse.router"]


def test_every_engine_of_this_tree_is_checked(root: pathlib.Path) -> None:
    engines = {path.name for path in (root / "engines").iterdir() if (path / "pyproject.toml").exists()} - {"kit"}
    assert {f"enginehouse.engines.{name}" for name in engines} <= set(python.packages(root))
