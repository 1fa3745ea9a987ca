from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Callable

import pytest

Write = Callable[[str, str], None]


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """An empty project that the rules can be tried on."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


@pytest.fixture
def write(tree: pathlib.Path) -> Write:
    """Put a file into the tree."""

    def put(name: str, text: str) -> None:
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return put


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The project itself."""
    return pathlib.Path(__file__).resolve().parents[2]
