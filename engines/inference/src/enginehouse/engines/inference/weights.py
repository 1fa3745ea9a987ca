"""Finds a model's weights on this machine, or says what is missing and the command that fetches it."""

from __future__ import annotations

from pathlib import Path

from enginehouse.engines.inference.sources import SourceError, weights_path
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError


def find_weights(model: CatalogModel, *, models_dir: Path) -> Path:
    """The file that holds the model's weights.

    Weights of `package:NAME` that are installed but not yet converted are converted here, once.

    Raises WEIGHTS_ABSENT, naming the weights, where they come from and the command that fetches them; INVALID_REQUEST
    for a source that cannot be read.
    """
    try:
        path = weights_path(model.source, models_dir)
    except SourceError as error:
        raise ServiceError(Reason.INVALID_REQUEST, f"model {model.name!r} in the catalog: {error}") from None
    scheme, _, rest = model.source.partition(":")
    if path.is_file():
        return path
    if scheme == "package":
        # What converts takes longer to import than all of the engine, and is needed once.
        from enginehouse.engines.inference.packaged import PackageError, convert_package

        try:
            convert_package(rest, path)
        except PackageError as error:
            raise ServiceError(Reason.WEIGHTS_ABSENT, f"the weights of {model.name!r} are not here: {error}") from None
        return path
    if scheme == "hf":
        fix = f"fetch them with: enginehouse models pull {model.name}"
    elif scheme == "bundled":
        fix = "they ship with enginehouse-inference; reinstall it"
    else:
        fix = f"put a GGUF file there, or change the model's source in the catalog (it is {model.source!r})"
    raise ServiceError(
        Reason.WEIGHTS_ABSENT, f"the weights of {model.name!r} are not on this machine: {path} is missing; {fix}"
    )
