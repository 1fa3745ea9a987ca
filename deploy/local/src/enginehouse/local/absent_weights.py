"""The models of a mesh that cannot be served because their packages of weights are not installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import packaged_name
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.config import ConfigError
from enginehouse.kit.engine import EngineSpec
from enginehouse.local.errors import LocalError


def models_without_weights(
    models: Mapping[str, list[CatalogModel]], engines: Mapping[str, EngineSpec[Any]], *, models_dir: Path
) -> dict[str, str]:
    """Return the models whose packages are not installed, each with the fault and the command that installs them.

    Reads the engines' tables and the versions of packages; starts no runtime and reads no weights.

    Args:
        models: the models that are to be served, by the kind of their engine.
        engines: the installed engines by kind.
        models_dir: the folder of models.

    Raises:
        LocalError: an engine's table of weights is invalid.
    """
    found = {}
    for kind, wanted in models.items():
        try:
            table = engines[kind].read_weights()
        except (ConfigError, OSError) as error:
            raise LocalError(f"{engines[kind].distribution}: invalid table of weights: {error}; reinstall it") from None
        packages = PackagedWeights(table=table, models_dir=models_dir)
        for model in wanted:
            # What is no package of weights is the backend's affair, and so is a name that the table lacks.
            if (name := packaged_name(model)) in table and (absent := packages.absent(name)):
                found[model.name] = absent
    return found
