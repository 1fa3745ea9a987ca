"""The place of a text model's weights on this machine, also of those that ship with it or come in a package."""

from __future__ import annotations

from pathlib import Path

from enginehouse.kit.backends.sources import SourceError, local_file, split_source
from enginehouse.kit.backends.weights import locate, pull_or_put, weights_absent
from enginehouse.kit.catalog import CatalogModel

BUNDLED_DIR = Path(__file__).parent / "bundled"


def weights_path(source: str, models_dir: Path) -> Path:
    """Return the file that `source` names on this machine, whether or not it exists; raise SourceError.

    Sources: `bundled:FILE` (ships with this distribution), `file:PATH` (absolute, or relative to `models_dir`),
    `hf:ORG/REPO/FILE[@REVISION]` (after `enginehouse models pull`), `package:NAME` (converted from a package).
    """
    scheme, rest = split_source(source, known=("bundled", "file", "hf", "package"))
    if scheme == "bundled":
        if "/" in rest or "\\" in rest:
            raise SourceError(f"source {source!r} must be a plain file name after bundled:")
        return BUNDLED_DIR / rest
    if scheme == "package":
        return models_dir / "package" / f"{rest}.gguf"
    return local_file(source, models_dir)


def find_weights(model: CatalogModel, *, models_dir: Path) -> Path:
    """Return the file that holds the model's weights.

    Weights of `package:NAME` that are installed but not yet converted are converted here, once.

    Raises:
        ServiceError: WEIGHTS_ABSENT, naming the weights, where they come from and the command that fetches them;
            INVALID_REQUEST for a source that cannot be read.
    """
    path = locate(model, weights_path, models_dir=models_dir)
    scheme, _, rest = model.source.partition(":")
    if path.is_file():
        return path
    if scheme == "package":
        # The converter takes longer to import than all of the engine, and is needed once.
        from enginehouse.engines.inference.packaged import PackageError, convert_package

        try:
            convert_package(rest, path)
        except PackageError as error:
            raise weights_absent(model, str(error)) from None
        return path
    if scheme == "bundled":
        fix = "they ship with enginehouse-inference; reinstall it"
    else:
        fix = pull_or_put(model, like="a GGUF file")
    raise weights_absent(model, f"{path} is missing; {fix}")
