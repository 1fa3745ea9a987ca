"""Shared parts of the optional runtimes: missing packages, and devices."""

from __future__ import annotations

import importlib.util
from typing import Literal, TypeAlias

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
"""The device that a model computes on; "auto" uses CUDA if available."""


def require_runtime(model: CatalogModel, *, package: str, module: str, install: str) -> None:
    """Refuse a model whose runtime is not installed, with WEIGHTS_ABSENT and the command that installs it.

    Args:
        model: the catalog's entry.
        package: the runtime's name.
        module: what it is imported as.
        install: what pip installs it by: its name, or an extra in quotes.
    """
    if importlib.util.find_spec(module) is None:
        raise runtime_absent(model, package=package, install=install)


def runtime_absent(
    model: CatalogModel, *, package: str, install: str, error: ImportError | None = None
) -> ServiceError:
    """Return the error of a runtime that is not installed, or only in part: `error` is then the failed import."""
    cause = f" ({error})" if error else ""
    return ServiceError(
        Reason.WEIGHTS_ABSENT,
        f"model {model.name!r} cannot load: the runtime {package} is not installed{cause}; pip install {install}",
    )


def torch_device(model: CatalogModel, wanted: Device) -> str:
    """Return the torch device to compute on, "cpu" or "cuda". Raises INVALID_REQUEST if there is no such device."""
    import torch  # type: ignore[import-not-found]

    return choose_device(model, wanted, cuda=torch.cuda.is_available())


def choose_device(model: CatalogModel, wanted: Device, *, cuda: bool) -> str:
    """Return "cpu" or "cuda"; `cuda` is whether CUDA is available. Raises INVALID_REQUEST if it is wanted but not."""
    if wanted == "auto":
        return "cuda" if cuda else "cpu"
    if wanted == "cuda" and not cuda:
        description = "no CUDA device is available for 'cuda'; use 'cpu' or 'auto'"
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"model {model.name!r} in the catalog: options.device: {description}",
            violations=[FieldViolation("options.device", description)],
        )
    return wanted
