"""The catalog that new data directories start with: the default entries and aliases of every installed engine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import yaml

from enginehouse.kit.engine import EngineSpec
from enginehouse.local.errors import LocalError

_HEADER = """\
# The models of this mesh. Edit this file, or use `enginehouse models add`. docs/ARCHITECTURE.md explains the keys.
models:
"""
_MODELS = "models:"
_ALIASES = "aliases:"


class _Part(NamedTuple):
    """An engine's share of the catalog, each indented by two spaces."""

    distribution: str
    models: str
    aliases: str


def default_catalog(engines: Iterable[EngineSpec[Any]]) -> str:
    """Return the YAML text of the default catalog, with the comments of its parts.

    Raises:
        LocalError: an engine's default catalog does not start with comments and the line `models:`, or two of them
            have the same alias.
    """
    parts = [_part(spec) for spec in engines if spec.catalog is not None]
    if not parts:
        return "models: []\n"
    _check_aliases(parts)
    aliases = "".join(part.aliases for part in parts)
    return _HEADER + "\n".join(part.models for part in parts) + (f"\n{_ALIASES}\n{aliases}" if aliases else "")


def _part(spec: EngineSpec[Any]) -> _Part:
    lines = spec.read_catalog().splitlines()
    if _MODELS not in lines or any(line and not line.startswith("#") for line in lines[: lines.index(_MODELS)]):
        raise LocalError(
            f"{spec.distribution}: invalid default catalog {spec.catalog}: it must start with comments and the line "
            f"{_MODELS!r}"
        )
    start = lines.index(_MODELS)
    end = start_of_aliases = lines.index(_ALIASES, start) if _ALIASES in lines[start:] else len(lines)
    # A comment right above the aliases is about them.
    while end < len(lines) and lines[start_of_aliases - 1].startswith("#"):
        start_of_aliases -= 1
    models = _indented(lines[:start]) + _indented(lines[start + 1 : start_of_aliases])
    return _Part(spec.distribution, models, _indented(lines[start_of_aliases:end] + lines[end + 1 :]))


def _indented(lines: Sequence[str]) -> str:
    text = textwrap.indent(textwrap.dedent("\n".join(lines)).strip("\n"), "  ")
    return f"{text}\n" if text else ""


def _check_aliases(parts: Iterable[_Part]) -> None:
    owners: dict[str, str] = {}
    for part in parts:
        for alias in yaml.safe_load(part.aliases) or {}:
            if alias in owners:
                raise LocalError(
                    f"{part.distribution} and {owners[alias]} both have the alias {alias!r} in their default "
                    "catalogs; remove it from one of them"
                )
            owners[alias] = part.distribution
