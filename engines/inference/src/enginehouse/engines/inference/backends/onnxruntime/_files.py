"""The files of an encoder: the graph, or the weights that it is made from, with the tokenizer and the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enginehouse.engines.inference.backends.onnxruntime._conversion import OnnxConversion
from enginehouse.engines.inference.backends.onnxruntime._options import OnnxRuntimeOptions
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import packaged_name, pull_or_put, weights_absent, weights_folder
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

# Where exports put the graph.
_GRAPHS = ("model.onnx", "onnx/model.onnx")
_LIKE = "sentence-transformers/all-MiniLM-L6-v2"


@dataclass(frozen=True, slots=True)
class EncoderFiles:
    """The files of one encoder on this machine."""

    tokenizer: Path
    graph: Path | None
    """A ready graph; None if it is converted."""
    conversion: OnnxConversion | None
    config: Mapping[str, Any]
    """The content of `config.json`; empty without one."""
    weights_bytes: int
    """The size of the weights, once they are converted."""


def find_files(
    model: CatalogModel, options: OnnxRuntimeOptions, *, models_dir: Path, packages: PackagedWeights | None
) -> EncoderFiles:
    """Return the files of a catalog's model.

    Sources: `package:NAME` (`model.safetensors` of a BERT encoder, converted when it is loaded), `file:FOLDER` and
    `hf:ORG/REPO` (`model.onnx` or `onnx/model.onnx`), each with `tokenizer.json`.

    Raises:
        ServiceError: WEIGHTS_ABSENT; INVALID_REQUEST for another source, or for `precision` with a ready graph.
    """
    name = packaged_name(model)
    needed = ("model.safetensors", "tokenizer.json", "config.json") if name else ("tokenizer.json",)
    folder = weights_folder(model, models_dir=models_dir, files=needed, like=_LIKE, packages=packages)
    tokenizer, config = folder / "tokenizer.json", _config(model, folder)
    if name and packages is not None:
        precision = options.precision or "fp32"
        conversion = OnnxConversion(
            name=name,
            folder=folder,
            hashes=packages.hashes(name),
            precision=precision,
            target=models_dir / "package" / name,
        )
        size = (folder / "model.safetensors").stat().st_size // (4 if precision == "int8" else 1)
        return EncoderFiles(tokenizer, None, conversion, config, size)
    if options.precision:
        raise _invalid(model, "options.precision", f"{options.precision!r} is for weights of a package; remove it")
    graph = next((folder / path for path in _GRAPHS if (folder / path).is_file()), None)
    if graph is None:
        fix = pull_or_put(model, like="an ONNX model")
        raise weights_absent(model, f"{folder} has neither {' nor '.join(_GRAPHS)}; {fix}")
    # Large graphs keep their tensors in files beside them.
    size = sum(path.stat().st_size for path in graph.parent.glob(f"{graph.name}*"))
    return EncoderFiles(tokenizer, graph, None, config, size)


def _config(model: CatalogModel, folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise ServiceError(Reason.BACKEND_FAILED, f"{path} is no JSON: {error}; fetch it again") from None
    positions = config.get("max_position_embeddings", 0) if isinstance(config, dict) else 0
    if not isinstance(config, dict) or not isinstance(positions, int):
        raise ServiceError(Reason.BACKEND_FAILED, f"{path} is no model's configuration; fetch it again")
    if 0 < positions < model.context_tokens:
        raise _invalid(
            model, "context_tokens", f"{model.context_tokens} is more than the model's {positions}; lower it"
        )
    return config


def _invalid(model: CatalogModel, field: str, description: str) -> ServiceError:
    return ServiceError(
        Reason.INVALID_REQUEST,
        f"model {model.name!r} in the catalog: {field}: {description} (backend {model.backend})",
        violations=[FieldViolation(field, description)],
    )
