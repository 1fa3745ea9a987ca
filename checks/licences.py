"""docs/licences.md lists every file of weights that is read from a package or kept in the tree, as it is pinned."""

from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator

from checks.tree import source_files
from enginehouse.kit.backends.package_table import WeightsEntry, WeightsFile, read_package_table
from enginehouse.kit.config import ConfigError

PAGE = pathlib.Path("docs/licences.md")
PINS = pathlib.Path("requirements/weights.txt")
# Of models, voices and fonts, in the tree.
SUFFIXES = {".bin", ".gguf", ".npz", ".onnx", ".otf", ".pt", ".pth", ".safetensors", ".ttf", ".woff2"}
_PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def complaints(root: pathlib.Path) -> list[str]:
    """Name each row that is missing, wrong or left over, and each pinned package that no table of weights has."""
    page = root / PAGE
    if not page.exists():
        return []
    rows = {line.strip() for line in page.read_text().splitlines() if line.startswith("| `")}
    tables = [path for path in source_files(root) if path.name == "weights.yaml" and "src" in path.parts]
    try:
        weights = {
            name: entry
            for path in tables
            for name, entry in read_package_table((root / path).read_text(), origin=str(path)).items()
        }
    except ConfigError as error:
        return str(error).splitlines()
    expected = [packaged_row(name, entry, file) for name, entry in weights.items() for file in entry.files]
    found = [f"{PAGE}: lacks the row {row}" for row in expected if row not in rows]
    others = sorted(row for row in rows - set(expected) if row.startswith("| `package:"))
    found += [f"{PAGE}: no weights.yaml has what this row says: {row}" for row in others]
    return [*found, *_unlisted_files(root, rows), *_other_pins(root, weights.values())]


def packaged_row(name: str, entry: WeightsEntry, file: WeightsFile) -> str:
    """Return the row about a file of packaged weights."""
    packages = ", ".join(f"`{part.package}` {part.version}" for part in file.parts)
    cells = (f"`package:{name}`", f"`{file.name}`", packages, f"`{file.sha256}`", entry.licence, entry.origin)
    return f"| {' | '.join(cells)} |"


def _unlisted_files(root: pathlib.Path, rows: set[str]) -> Iterator[str]:
    for path in source_files(root):
        if path.suffix not in SUFFIXES or "src" not in path.parts or path.is_relative_to("proto"):
            continue
        sha256 = hashlib.sha256((root / path).read_bytes()).hexdigest()
        if not any(f"| `{path.name}` |" in row and f"| `{sha256}` |" in row for row in rows):
            yield f"{PAGE}: has no row about {path} with its hash, {sha256}"


def _other_pins(root: pathlib.Path, weights: Iterable[WeightsEntry]) -> Iterator[str]:
    known = {(part.package, part.version) for entry in weights for part in entry.parts}
    for package, version in _PIN.findall((root / PINS).read_text() if (root / PINS).exists() else ""):
        if (package, version) not in known:
            yield f"{PINS}: no weights.yaml has {package} {version}; correct the table, or requirements/weights.in"
