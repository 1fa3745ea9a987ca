"""The description of an engine as data, which can be read without its runtimes."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from enginehouse.kit.engine._section import EngineSection

if TYPE_CHECKING:
    from enginehouse.kit.backends.package_table import WeightsEntry

    # Needs grpc, which takes longer to import than everything else here.
    from enginehouse.kit.engine.context import BuiltEngine, EngineContext

ENTRY_POINT_GROUP = "enginehouse.engines"
"""The group in which distributions name their engines: the entry point's name is the kind, its object the
`EngineSpec`.
"""

ConfigT = TypeVar("ConfigT", bound=EngineSection)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec(Generic[ConfigT]):
    """One kind of engine.

    Attributes:
        kind: its name in catalogs (`cluster`), in the registry, and as its section of the configuration.
        package: its import package; `python -m PACKAGE serve --config FILE` starts one.
        distribution: the distribution that it is installed by; gives its version and the name of its command.
        config: the class of its section.
        build: makes the engine of one process. Imports the runtimes when it is called, not before.
        catalog: the YAML file in the package with the catalog entries of a fresh installation; None if it has none.
        weights: the YAML file in the package with the table of weights that come as Python packages
            (`kit.backends.package_table`); None if it has none.
        data_folders: keys of its section that name a folder of its own, each with the folder's name in a mesh's data
            directory.
        ready_path: a path of the public address that answers a GET with 200, at no cost, once the engine serves through
            Envoy; None where its readiness probe must do.
        model_store: the module that fetches weights and adds catalog entries (`source_to_pull`, `pull`, `plan_model`,
            `NewModel`, `StoreError`); None if the engine has none.
    """

    kind: str
    package: str
    distribution: str
    config: type[ConfigT]
    build: Callable[[EngineContext[ConfigT]], Awaitable[BuiltEngine[Any, Any]]]
    catalog: str | None = None
    weights: str | None = None
    data_folders: Mapping[str, str] = field(default_factory=dict)
    ready_path: str | None = None
    model_store: str | None = None

    def read_catalog(self) -> str:
        """Return the YAML text of its default catalog entries; empty if it has none."""
        if self.catalog is None:
            return ""
        return importlib.resources.files(self.package).joinpath(self.catalog).read_text(encoding="utf-8")

    def read_weights(self) -> Mapping[str, WeightsEntry]:
        """Return its table of weights that come as Python packages, by name; raise ConfigError if it is invalid."""
        # Imported here: most readers of specs have no use for it.
        from enginehouse.kit.backends.package_table import read_package_table

        if self.weights is None:
            return {}
        text = importlib.resources.files(self.package).joinpath(self.weights).read_text(encoding="utf-8")
        return read_package_table(text, origin=f"{self.distribution}: {self.weights}")

    def version(self) -> str:
        """Return the version of the distribution."""
        return importlib.metadata.version(self.distribution)


def installed_engines() -> dict[str, EngineSpec[Any]]:
    """Return the engines that are installed, by kind and in its order.

    Raises:
        RuntimeError: a distribution names something other than an engine, or a kind that another has named.
    """
    found: dict[str, EngineSpec[Any]] = {}
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        spec = entry.load()
        if not isinstance(spec, EngineSpec) or spec.kind != entry.name:
            raise RuntimeError(
                f"entry point {entry.name!r} of {ENTRY_POINT_GROUP} ({entry.value}) is not an EngineSpec of that kind; "
                "correct it in the distribution's pyproject.toml and install it again"
            )
        if spec.kind in found and found[spec.kind] is not spec:
            raise RuntimeError(
                f"engine kind {spec.kind!r} is installed twice, by {found[spec.kind].distribution} and "
                f"{spec.distribution}; uninstall one of them"
            )
        found[spec.kind] = spec
    return found
