"""The place of a text model's weights on this machine, also of those that ship with it or come in a package."""

from __future__ import annotations

from pathlib import Path

from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.sources import SourceError, local_file, split_source
from enginehouse.kit.backends.weights import locate, packaged_name, pull_or_put, weights_absent, weights_file
from enginehouse.kit.catalog import CatalogModel

BUNDLED_DIR = Path(__file__).parent / "bundled"


def weights_path(source: str, models_dir: Path) -> Path:
    """Return the file that `source` names on this machine, whether or not it exists; raise SourceError.

    Sources: `bundled:FILE` (ships with this distribution), `file:PATH` (absolute, or relative to `models_dir`),
    `hf:ORG/REPO/FILE[@REVISION]` (after `enginehouse models pull`).
    """
    scheme, rest = split_source(source, known=("bundled", "file", "hf"))
    if scheme == "bundled":
        if "/" in rest or "\\" in rest:
            raise SourceError(f"source {source!r} must be a plain file name after bundled:")
        return BUNDLED_DIR / rest
    return local_file(source, models_dir)


def find_weights(model: CatalogModel, *, models_dir: Path, packages: PackagedWeights | None = None) -> Path:
    """Return the file that holds the model's weights.

    Args:
        model: the catalog's entry.
        models_dir: where models lie.
        packages: the weights that come as Python packages.

    Raises:
        ServiceError: WEIGHTS_ABSENT, naming the weights, where they come from and the command that fetches them;
            INVALID_REQUEST for a source that cannot be read.
    """
    if packaged_name(model):
        path = weights_file(model, models_dir=models_dir, like="a GGUF file", packages=packages)
        if path.suffix != ".gguf":
            # Catalogs of earlier installations name llama.cpp for MiniLM: that costs the model alone.
            raise weights_absent(
                model,
                f"{model.source!r} holds {path.name} and no GGUF file; in the catalog, give the model the backend "
                "that reads it, such as onnxruntime",
            )
        return path
    path = locate(model, weights_path, models_dir=models_dir)
    if path.is_file():
        return path
    if model.source.startswith("bundled:"):
        fix = "they ship with enginehouse-inference; reinstall it"
    else:
        fix = pull_or_put(model, like="a GGUF file")
    raise weights_absent(model, f"{path} is missing; {fix}")
