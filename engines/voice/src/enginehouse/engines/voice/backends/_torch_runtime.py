"""What the backends of the extras have in common: their packages may be absent, and they compute somewhere."""

from __future__ import annotations

import importlib.util
from typing import Literal, TypeAlias

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
"""Where a model computes; "auto" takes a CUDA device where there is one."""


def require_runtime(model: CatalogModel, *, package: str, module: str, extra: str) -> None:
    """Refuse a model whose runtime is not installed: WEIGHTS_ABSENT, naming the command that installs it."""
    if importlib.util.find_spec(module) is None:
        raise runtime_absent(model, package=package, extra=extra)


def runtime_absent(model: CatalogModel, *, package: str, extra: str, error: ImportError | None = None) -> ServiceError:
    """The error of a runtime that is not installed, or only in part: then `error` says what could not be imported."""
    told = f" ({error})" if error else ""
    return ServiceError(
        Reason.WEIGHTS_ABSENT,
        f"model {model.name!r} cannot load: the runtime {package} is not installed{told}; "
        f"pip install 'enginehouse-voice[{extra}]'",
    )


def torch_device(model: CatalogModel, wanted: Device) -> str:
    """The torch device to compute on, "cpu" or "cuda". Raises INVALID_REQUEST where there is no such device."""
    import torch  # type: ignore[import-not-found]

    return choose_device(model, wanted, cuda=torch.cuda.is_available())


def choose_device(model: CatalogModel, wanted: Device, *, cuda: bool) -> str:
    """ "cpu" or "cuda", where `cuda` says whether there is one. Raises INVALID_REQUEST where there is none."""
    if wanted == "auto":
        return "cuda" if cuda else "cpu"
    if wanted == "cuda" and not cuda:
        description = "'cuda' was asked for, but no CUDA device can be used here; take 'cpu' or 'auto'"
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"model {model.name!r} in the catalog: options.device: {description}",
            violations=[FieldViolation("options.device", description)],
        )
    return wanted
