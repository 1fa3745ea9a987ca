"""A file is about one noun. Past 700 lines it is about several, or says why not."""

from __future__ import annotations

import pathlib

from checks.tree import is_generated, source_files, text_of

MOST_LINES = 700
SUFFIXES = {".py", ".proto", ".sh", ".yaml", ".yml", ".md", ".toml"}


def complaints(root: pathlib.Path) -> list[str]:
    """Name each file that is too long, with its length."""
    found = []
    for path in source_files(root):
        if path.suffix not in SUFFIXES or is_generated(path):
            continue
        lines = (text_of(root / path) or "").count("\n")
        if lines > MOST_LINES:
            found.append(f"{path}: {lines} lines, more than {MOST_LINES}; part it by what its parts are about")
    return found
