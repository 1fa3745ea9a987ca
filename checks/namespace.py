"""`enginehouse` and `enginehouse.engines` are shared by all distributions: an `__init__.py` there hides the others."""

from __future__ import annotations

import pathlib

from checks.tree import source_files

SHARED = (("enginehouse", "__init__.py"), ("enginehouse", "engines", "__init__.py"))


def complaints(root: pathlib.Path) -> list[str]:
    """Name each file that closes a shared namespace, generated stubs included."""
    found = []
    for path in source_files(root):
        parts = path.parts
        if any(parts[-len(shared) :] == shared for shared in SHARED):
            found.append(f"{path}: closes a namespace that other distributions share; delete it")
        elif parts[:4] == ("proto", "python", "src", "enginehouse") and path.name == "__init__.py":
            found.append(f"{path}: stub folders are namespaces too; delete it")
    return found
