"""The catalog that new data directories start with: the default entries of every installed engine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from enginehouse.kit.engine import EngineSpec
from enginehouse.local.errors import LocalError

_HEADER = """\
# The models of this mesh. Edit this file, or use `enginehouse models add`. docs/ARCHITECTURE.md explains the keys.
models:
"""
_KEY = "models:"


def default_catalog(engines: Iterable[EngineSpec[Any]]) -> str:
    """Return the YAML text of the default catalog, with the comments of its parts.

    Raises:
        LocalError: an engine's default catalog does not start with comments and the line `models:`.
    """
    parts = [_entries(spec) for spec in engines if spec.catalog is not None]
    return _HEADER + "\n".join(parts) if parts else "models: []\n"


def _entries(spec: EngineSpec[Any]) -> str:
    """Return the engine's comments and entries, indented by two spaces."""
    lines = spec.read_catalog().splitlines()
    if _KEY not in lines or any(line and not line.startswith("#") for line in lines[: lines.index(_KEY)]):
        raise LocalError(
            f"{spec.distribution}: invalid default catalog {spec.catalog}: it must start with comments and the line "
            f"{_KEY!r}"
        )
    start = lines.index(_KEY)
    comments = textwrap.indent("\n".join(lines[:start]), "  ")
    entries = textwrap.indent(textwrap.dedent("\n".join(lines[start + 1 :])), "  ")
    return f"{comments}\n{entries}\n"
