"""One name, one thing: no public class name stands for two classes."""

from __future__ import annotations

import ast
import pathlib
from collections import defaultdict

from checks.tree import is_generated, parsed, source_files

# Names that two packages share because they mean the same thing, and why neither imports the other's.
SHARED = {"FieldViolation": "the client may not import the kit"}


def complaints(root: pathlib.Path) -> list[str]:
    """Name each public class whose name another module has too."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in source_files(root):
        # The synchronous client is generated from the asyncio one, and each has its own `Stream`.
        if path.suffix != ".py" or "src" not in path.parts or "_sync" in path.parts or is_generated(path):
            continue
        for node in parsed(root / path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in SHARED:
                found[node.name].append(f"{path}:{node.lineno}")
    return [
        f"{places[-1]}: another class {name} is at {', '.join(places[:-1])}; give one of them a name of its own"
        for name, places in sorted(found.items())
        if len(places) > 1
    ]
