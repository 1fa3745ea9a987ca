"""The page of licences follows the tables of weights."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
from collections.abc import Callable

import pytest

from checks import licences

Write = Callable[[str, str], None]
TABLE = """
weights:
  a-voice:
    licence: MIT
    origin: hf:org/repo
    description: A voice.
    files:
      - {name: v.onnx, sha256: SHA, parts: [{package: a-voice, version: 1.0.0, path: a_voice/v.onnx}]}
""".replace("SHA", "a" * 64)
ROW = f"| `package:a-voice` | `v.onnx` | `a-voice` 1.0.0 | `{'a' * 64}` | MIT | hf:org/repo |"
PINNED = "a-voice==1.0.0 \\\n    --hash=sha256:0\n"


@pytest.fixture
def pages(tree: pathlib.Path, write: Write) -> pathlib.Path:
    """A project whose page is right."""
    write("engines/voice/src/voice/weights.yaml", TABLE)
    write("docs/licences.md", f"# Licences\n\n{ROW}\n")
    write("requirements/weights.txt", PINNED)
    return tree


def test_a_page_that_is_right(pages: pathlib.Path) -> None:
    assert licences.complaints(pages) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MIT", "Apache-2.0"),
        ("`a-voice` 1.0.0", "`a-voice` 1.0.1"),
        ("aaa`", "aab`"),
        ("v.onnx", "w.onnx"),
        ("org", "o"),
    ],
)
def test_a_row_that_says_something_else(pages: pathlib.Path, write: Write, old: str, new: str) -> None:
    wrong = ROW.replace(old, new)
    write("docs/licences.md", f"{wrong}\n")
    assert licences.complaints(pages) == [
        f"docs/licences.md: lacks the row {ROW}",
        f"docs/licences.md: no weights.yaml has what this row says: {wrong}",
    ]


def test_a_row_that_is_left_over(pages: pathlib.Path, write: Write) -> None:
    write("engines/voice/src/voice/weights.yaml", "weights: {}\n")
    write("requirements/weights.txt", "")
    assert licences.complaints(pages) == [f"docs/licences.md: no weights.yaml has what this row says: {ROW}"]


def test_a_pin_of_another_version(pages: pathlib.Path, write: Write) -> None:
    write("requirements/weights.txt", PINNED.replace("1.0.0", "2.0.0"))
    assert licences.complaints(pages) == [
        "requirements/weights.txt: no weights.yaml has a-voice 2.0.0; correct the table, or requirements/weights.in"
    ]


def test_a_file_in_the_tree_needs_a_row_with_its_hash(pages: pathlib.Path, write: Write) -> None:
    write("router/src/router/small.onnx", "weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    said = [f"docs/licences.md: has no row about router/src/router/small.onnx with its hash, {sha256}"]
    assert licences.complaints(pages) == said
    write("docs/licences.md", f"{ROW}\n| `router` | `small.onnx` | - | `{'b' * 64}` | MIT | - |\n")
    assert licences.complaints(pages) == said
    write("docs/licences.md", f"{ROW}\n| `router` | `small.onnx` | - | `{sha256}` | MIT | - |\n")
    assert licences.complaints(pages) == []


def test_an_invalid_table_is_told(pages: pathlib.Path, write: Write) -> None:
    write("engines/voice/src/voice/weights.yaml", TABLE.replace("licence: MIT", "license: MIT"))
    said = licences.complaints(pages)
    assert said[0].startswith("engines/voice/src/voice/weights.yaml: weights.a-voice.licence: ")


def test_the_project_keeps_to_it(root: pathlib.Path, tree: pathlib.Path) -> None:
    assert licences.complaints(root) == []
    # And it would be found if it did not.
    for path in ("docs/licences.md", "requirements/weights.txt", *map(str, root.glob("engines/*/src/**/weights.yaml"))):
        copied = tree / (root / path).relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, copied)
    assert licences.complaints(tree) == []
    page = tree / "docs" / "licences.md"
    page.write_text(page.read_text().replace("CC0 (data set)", "CC0"))
    assert len(licences.complaints(tree)) == 4
