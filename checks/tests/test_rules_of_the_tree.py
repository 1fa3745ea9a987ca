"""Each rule holds here, and finds what it is for."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from checks import length, namespace, places, shell
from checks.tree import source_files

Write = Callable[[str, str], None]


@pytest.mark.parametrize("rule", [namespace, length, places, shell], ids=lambda rule: rule.__name__)
def test_an_empty_tree_breaks_no_rule(rule: object, tree: pathlib.Path) -> None:
    assert rule.complaints(tree) == []  # type: ignore[attr-defined]


def test_ignored_files_are_not_looked_at(tree: pathlib.Path, write: Write) -> None:
    write(".gitignore", "made/\n")
    write("made/a.py", "")
    write("kept/b.py", "")
    assert source_files(tree) == [pathlib.Path(".gitignore"), pathlib.Path("kept/b.py")]


@pytest.mark.parametrize(
    "path",
    [
        "router/src/enginehouse/__init__.py",
        "engines/voice/src/enginehouse/engines/__init__.py",
        "proto/python/src/enginehouse/api/__init__.py",
        "proto/python/src/enginehouse/api/common/v1/__init__.py",
    ],
)
def test_a_closed_namespace_is_found(path: str, tree: pathlib.Path, write: Write) -> None:
    write(path, "")
    assert len(namespace.complaints(tree)) == 1


def test_a_package_of_a_distribution_is_none(tree: pathlib.Path, write: Write) -> None:
    write("router/src/enginehouse/router/__init__.py", "")
    write("engines/voice/src/enginehouse/engines/voice/__init__.py", "")
    assert namespace.complaints(tree) == []


def test_a_long_file_is_found_and_a_generated_one_is_not(tree: pathlib.Path, write: Write) -> None:
    write("kit/long.py", "x = 1\n" * 701)
    write("kit/just.py", "x = 1\n" * 700)
    write("docs/reference.md", "line\n" * 2000)
    assert [complaint.split(":")[0] for complaint in length.complaints(tree)] == ["kit/long.py"]


@pytest.mark.parametrize(
    "line",
    [
        "data = '/" + "root/data'",
        "see /" + "work/main/docs",
        "cd /" + "home/somebody/enginehouse",
        "/" + "Users/me/x",
        "--extra-index-url https://" + "pypi" + ".org/simple",
        '"resolved": "https://registry.' + "npmjs" + '.org/a.tgz"',
        "GOPROXY=https://proxy." + "golang" + ".org",
    ],
)
def test_a_place_is_found(line: str, tree: pathlib.Path, write: Write) -> None:
    write("notes.txt", f"first\n{line}\n")
    assert [complaint.rsplit(":", 1)[0].startswith("notes.txt:2") for complaint in places.complaints(tree)] == [True]


@pytest.mark.parametrize(
    "line",
    [
        "docs/work/plan",
        "https://example.com/root/x",
        "router/root",
        "a framework/workflow",
        "/v1/admin/budgets",
        "${HOME}/models",
        "the /rooted path",
    ],
)
def test_what_is_no_place_is_left_alone(line: str, tree: pathlib.Path, write: Write) -> None:
    write("notes.txt", line)
    assert places.complaints(tree) == []


def test_a_script_that_cannot_be_parsed_or_run_is_found(tree: pathlib.Path, write: Write) -> None:
    write("deploy/go", "#!/bin/bash\nset -euo pipefail\nif true; then\n")
    write("deploy/careless", "#!/usr/bin/env bash\necho hello\n")
    (tree / "deploy" / "go").chmod(0o755)
    (tree / "deploy" / "careless").chmod(0o755)
    write("deploy/plain", "#!/bin/bash\nset -euo pipefail\n")
    said = shell.complaints(tree)
    assert [complaint.split(":")[0] for complaint in said] == ["deploy/careless", "deploy/go", "deploy/plain"]
    assert "set -euo pipefail" in said[0]
    assert "syntax error" in said[1]
    assert "executable" in said[2]
