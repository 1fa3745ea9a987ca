"""Changes of the catalog file that a running mesh has not taken up: it serves the catalog that it was started with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from enginehouse.kit.catalog import Catalog, CatalogModel, load_catalog
from enginehouse.kit.config import ConfigError
from enginehouse.local.datadir import DataDirectory
from enginehouse.local.state import MeshState, Phase

Change = Literal["added", "changed", "removed"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PendingCatalog:
    """The difference between the catalog that is served and the file.

    Attributes:
        file: the catalog file.
        changes: what becomes of models at the next start, by name.
        added: the models that are served from the next start on, by name.
        aliases_changed: whether other names will stand for other models.
        fault: why the next start would fail: the file is no valid catalog; empty if it is one.
    """

    file: str
    changes: Mapping[str, Change]
    added: Mapping[str, CatalogModel]
    aliases_changed: bool = False
    fault: str = ""

    @property
    def empty(self) -> bool:
        """True if the next start changes nothing."""
        return not (self.changes or self.aliases_changed or self.fault)

    def describe(self) -> str:
        """Return the difference and the command that ends it, as a sentence for people."""
        if self.fault:
            fault = " ".join(self.fault.split())
            return f"the catalog file is broken, and the mesh goes on with what it was started with: {fault}"
        parts = [f"{name} ({change})" for name, change in self.changes.items()]
        if self.aliases_changed:
            parts.append("aliases (changed)")
        return (
            f"waits for a restart: {', '.join(parts)} in {self.file}; take it up with `enginehouse down` and "
            "`enginehouse up`"
        )


def pending_catalog(data: DataDirectory) -> PendingCatalog | None:
    """Return what of the catalog file waits for a restart of the mesh; None if no mesh runs or nothing waits."""
    state = MeshState.read(data.state)
    if state is None or not state.catalog or state.phase is Phase.STOPPED or data.holder() is None:
        return None
    try:
        served = load_catalog(data.served_catalog)
    except ConfigError:
        return None
    try:
        wanted = load_catalog(Path(state.catalog))
    except ConfigError as error:
        return PendingCatalog(file=state.catalog, changes={}, added={}, fault=str(error))
    found = PendingCatalog(
        file=state.catalog,
        changes=_changes(served, wanted),
        added={model.name: model for model in wanted.models if served.get(model.name) is None},
        aliases_changed=served.aliases != wanted.aliases,
    )
    return None if found.empty else found


def _changes(served: Catalog, wanted: Catalog) -> dict[str, Change]:
    changes: dict[str, Change] = {}
    for name in sorted({model.name for model in (*served.models, *wanted.models)}):
        before, after = served.get(name), wanted.get(name)
        if before is None:
            changes[name] = "added"
        elif after is None:
            changes[name] = "removed"
        elif before != after:
            changes[name] = "changed"
    return changes
