"""Lint and breaking-change rules bite: shown on copies of the contracts with one thing changed."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

import pytest

from checks import contracts

GENERATION = "enginehouse/api/inference/v1/generation.proto"
Edit = Callable[[str, str], pathlib.Path]


@pytest.fixture(scope="session")
def generators(root: pathlib.Path) -> str:
    python = root / ".venv-proto" / "bin" / "python"
    if not python.exists():
        environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        subprocess.run(["make", "-s", str(python.parents[1].name + "/.stamp")], cwd=root, check=True, env=environment)
    return str(python)


@pytest.fixture
def edited(root: pathlib.Path, tmp_path: pathlib.Path, generators: str) -> Edit:
    """The image of the contracts after one replacement in generation.proto."""

    def edit(old: str, new: str) -> pathlib.Path:
        shutil.copytree(root / "proto" / "enginehouse", tmp_path / "enginehouse")
        path = tmp_path / GENERATION
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        image = tmp_path / "image.binpb"
        command = [generators, "proto/generate.py", "--contracts", str(tmp_path), "--image", str(image)]
        subprocess.run(command, cwd=root, check=True)
        return image

    return edit


def test_contracts_as_they_are_pass(edited: Edit, root: pathlib.Path) -> None:
    image = edited("string prompt = 4;", "string prompt = 4;")
    assert contracts.lint(image, root) == []
    assert contracts.breaking(image, root) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string prompt = 4;", "string prompt = 99;"),
        ("string prompt = 4;", "bytes prompt = 4;"),
        ("rpc Embed(EmbedRequest)", "rpc EmbedTexts(EmbedRequest)"),
        ("FINISH_REASON_LENGTH = 2;", "FINISH_REASON_LENGTH = 9;"),
    ],
)
def test_a_breaking_change_is_found(old: str, new: str, edited: Edit, root: pathlib.Path) -> None:
    assert contracts.breaking(edited(old, new), root)


def test_a_field_without_a_comment_is_found(edited: Edit, root: pathlib.Path) -> None:
    image = edited("string prompt = 4;", "string prompt = 4;\n  string undocumented = 900;")
    assert any('"undocumented"' in complaint for complaint in contracts.lint(image, root))
    assert contracts.breaking(image, root) == []


def test_a_name_against_the_rules_is_found(edited: Edit, root: pathlib.Path) -> None:
    image = edited("string prompt = 4;", "string prompt = 4;\n  // Said.\n  string camelCase = 900;")
    assert any("camelCase" in complaint for complaint in contracts.lint(image, root))


def test_stale_stubs_are_found(root: pathlib.Path, tmp_path: pathlib.Path, generators: str) -> None:
    stubs = tmp_path / "stubs"
    shutil.copytree(root / "proto" / "python" / "src", stubs, ignore=shutil.ignore_patterns("__pycache__"))
    changed = stubs / "enginehouse/api/inference/v1/generation_pb2.py"
    changed.write_text(changed.read_text() + "# by hand\n")
    (stubs / "enginehouse/api/common/v1/usage_pb2.pyi").unlink()
    (stubs / "enginehouse/api/common/v1/left_over_pb2.py").touch()
    command = [generators, "proto/generate.py", "--check", "--stubs", str(stubs)]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    for name in ("generation_pb2.py", "usage_pb2.pyi", "left_over_pb2.py"):
        assert f"{name} differs" in ran.stderr
