"""Who may import whom: engines know the kit and the contracts, the client knows the contracts alone.

Only an engine imports itself. Everything else, the local mesh and the command line too, finds engines as data.
"""

from __future__ import annotations

import ast
import pathlib

from checks.tree import parsed, source_files

# What each part may import of the others, by the start of its modules' names.
ALLOWED = {
    "enginehouse.client": ("enginehouse.api",),
    "enginehouse.kit": ("enginehouse.api",),
    "enginehouse.engines": ("enginehouse.api", "enginehouse.kit"),
    "enginehouse.gateway": ("enginehouse.api", "enginehouse.kit"),
    "enginehouse.router": ("enginehouse.api", "enginehouse.kit"),
    "enginehouse.local": ("enginehouse.api", "enginehouse.kit"),
    "enginehouse.cli": ("enginehouse.api", "enginehouse.client", "enginehouse.kit", "enginehouse.local"),
}
# Inside the router: a domain knows neither what serves it nor what wires it, and what answers Envoy's checks knows no
# administration. Each rule: the modules it is for, those it leaves out, and what they must not import.
ROUTER = "enginehouse.router"
WITHIN = (
    (
        (ROUTER,),
        (f"{ROUTER}.__main__", f"{ROUTER}.api", f"{ROUTER}.app", f"{ROUTER}.wiring"),
        (f"{ROUTER}.api", f"{ROUTER}.app", f"{ROUTER}.wiring"),
    ),
    (
        (
            f"{ROUTER}.api.error_response",
            f"{ROUTER}.api.ext_authz",
            f"{ROUTER}.api.http_connection",
            f"{ROUTER}.api.http_server",
        ),
        (),
        (f"{ROUTER}.api.access", f"{ROUTER}.api.admin"),
    ),
)


def complaints(root: pathlib.Path) -> list[str]:
    """Name each import that reaches across a layer."""
    found = []
    for path in source_files(root):
        part = _part(path)
        if part is None:
            continue
        allowed = (part, *ALLOWED[part])
        importer = ".".join(path.with_suffix("").parts[path.parts.index("src") + 1 :])
        for line, module in _imports(parsed(root / path)):
            for modules, exempt, forbidden in WITHIN:
                if _in(importer, modules) and not _in(importer, exempt) and _in(module, forbidden):
                    found.append(f"{path}:{line}: {importer} must not import {module}")
            if module.startswith("enginehouse.") and not _in(module, allowed):
                found.append(f"{path}:{line}: imports {module}; {part} may know {', '.join(ALLOWED[part])} alone")
    return found


def _in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _part(path: pathlib.Path) -> str | None:
    """The part that a source file belongs to; None for tests, tools and parts that may know everybody."""
    if path.suffix != ".py" or "src" not in path.parts:
        return None
    module = ".".join(path.parts[path.parts.index("src") + 1 : -1])
    # One engine must not know another.
    if module.startswith("enginehouse.engines."):
        return "enginehouse.engines"
    return next((part for part in ALLOWED if module == part or module.startswith(f"{part}.")), None)


def _imports(tree: ast.Module) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.lineno, node.module))
    return found
