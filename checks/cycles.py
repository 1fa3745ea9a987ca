"""No import cycles between the packages and modules at the top of a distribution."""

from __future__ import annotations

import ast
import pathlib
from collections import defaultdict

from checks.tree import is_generated, parsed, source_files


def complaints(root: pathlib.Path) -> list[str]:
    """Name each cycle, with one of its imports."""
    edges: dict[str, dict[str, str]] = defaultdict(dict)
    for path in source_files(root):
        if path.suffix != ".py" or "src" not in path.parts or is_generated(path):
            continue
        module = ".".join(path.with_suffix("").parts[path.parts.index("src") + 1 :]).removesuffix(".__init__")
        package = _package(module)
        if package is None or module == package:
            continue
        origin = _entry(module, package)
        for line, imported in _imports(parsed(root / path)):
            if imported.startswith(f"{package}."):
                target = _entry(imported, package)
                if target != origin:
                    edges[origin].setdefault(target, f"{path}:{line}")
    return [
        f"{edges[origin][target]}: {origin} imports {target}, which imports it back; move what both need below them"
        for origin in sorted(edges)
        for target in sorted(edges[origin])
        if origin < target and origin in _reachable(target, edges)
    ]


def _package(module: str) -> str | None:
    """The distribution's package that a module is in, such as `enginehouse.router`."""
    parts = module.split(".")
    depth = 3 if parts[:2] == ["enginehouse", "engines"] else 2
    return ".".join(parts[:depth]) if parts[0] == "enginehouse" and len(parts) >= depth else None


def _entry(module: str, package: str) -> str:
    """The package or module at the top of a distribution that a module belongs to."""
    return ".".join(module.split(".")[: package.count(".") + 2])


def _imports(tree: ast.Module) -> list[tuple[int, str]]:
    """The modules that are imported when a module is, with `from package import name` as both possibilities."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def _reachable(start: str, edges: dict[str, dict[str, str]]) -> set[str]:
    """Everything that is imported from a starting point, directly or not."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for target in edges.get(waiting.pop(), ()):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen
