"""A model's weights on this machine, or an error that says what is missing and the command that fetches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from enginehouse.kit.backends.packages import PackagedWeights, PackagedWeightsError
from enginehouse.kit.backends.sources import SourceError, local_file, local_folder
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError


def weights_file(model: CatalogModel, *, models_dir: Path, like: str, packages: PackagedWeights | None = None) -> Path:
    """Return the file that holds the model's weights.

    Sources: `file:PATH` (absolute, or relative to `models_dir`), `hf:ORG/REPO/FILE[@REVISION]`, which lies at
    `models_dir/hf/ORG/REPO/REVISION/FILE` once it is pulled, and `package:NAME` of the engine's table.

    Args:
        model: the catalog's entry.
        models_dir: where models lie.
        like: what kind of file it is, for errors.
        packages: the weights that come as packages.

    Raises:
        ServiceError: WEIGHTS_ABSENT, naming the file and the command that fetches it; INVALID_REQUEST for another
            source.
    """
    name = packaged_name(model)
    if name:
        return _of_package(model, packages, lambda known: known.file(name))
    path = locate(model, local_file, models_dir=models_dir)
    if not path.is_file():
        raise weights_absent(model, f"{path} is missing; {pull_or_put(model, like=like)}")
    return path


def weights_folder(
    model: CatalogModel,
    *,
    models_dir: Path,
    files: Sequence[str],
    like: str,
    packages: PackagedWeights | None = None,
) -> Path:
    """Return the folder that holds the model's weights.

    Sources: `file:FOLDER` (absolute, or relative to `models_dir`), `hf:ORG/REPO[@REVISION]`, which lies at
    `models_dir/hf/ORG/REPO/REVISION` once it is pulled, and `package:NAME` of the engine's table.

    Args:
        model: the catalog's entry.
        models_dir: where models lie.
        files: what must be in the folder.
        like: a repository of the Hugging Face hub that has these files, for errors.
        packages: the weights that come as packages.

    Raises:
        ServiceError: WEIGHTS_ABSENT, naming what is missing and the command that fetches it; INVALID_REQUEST for
            another source.
    """
    name = packaged_name(model)
    if name:
        folder = _of_package(model, packages, lambda known: known.folder(name))
    else:
        folder = locate(model, local_folder, models_dir=models_dir)
    missing = [file for file in files if not (folder / file).is_file()]
    if missing and name:
        raise _invalid_source(model, f"source {model.source!r} has no {', '.join(missing)}; name other weights")
    if missing:
        fix = f"hf download {like} --local-dir {folder}"
        raise weights_absent(model, f"{folder} lacks {', '.join(missing)}; {pull_or_put(model, command=fix)}")
    return folder


def packaged_name(model: CatalogModel) -> str:
    """Return the name after `package:` in the model's source; empty for other sources."""
    scheme, _, name = model.source.partition(":")
    return name if scheme == "package" else ""


def _of_package(model: CatalogModel, packages: PackagedWeights | None, find: Callable[[PackagedWeights], Path]) -> Path:
    if packages is None:
        raise _invalid_source(
            model, f"source {model.source!r} is a package, and this engine knows no weights in packages"
        )
    try:
        return find(packages)
    except SourceError as error:
        raise _invalid_source(model, str(error)) from None
    except PackagedWeightsError as error:
        raise weights_absent(model, str(error)) from None


def locate(model: CatalogModel, find: Callable[[str, Path], Path], *, models_dir: Path) -> Path:
    """Return where `find` says that the model's source lies; raise its SourceError as INVALID_REQUEST."""
    try:
        return find(model.source, models_dir)
    except SourceError as error:
        raise _invalid_source(model, str(error)) from None


def _invalid_source(model: CatalogModel, fault: str) -> ServiceError:
    return ServiceError(
        Reason.INVALID_REQUEST,
        f"model {model.name!r} in the catalog: {fault} (backend {model.backend})",
        violations=[FieldViolation("source", fault)],
    )


def pull_or_put(model: CatalogModel, *, like: str = "them", command: str = "") -> str:
    """Return the fix for missing weights: pull them from the hub, or put them where the source says.

    Args:
        model: the catalog's entry.
        like: what to put there.
        command: a command that puts it there.
    """
    if model.source.startswith("hf:"):
        return f"fetch them with: enginehouse models pull {model.name}"
    by = f", such as by: {command};" if command else ","
    return f"put {like} there{by} or change the model's source in the catalog (it is {model.source!r})"


def weights_absent(model: CatalogModel, what: str) -> ServiceError:
    """Return the error for a model whose weights are not here; `what` names what is missing and the fix."""
    return ServiceError(Reason.WEIGHTS_ABSENT, f"the weights of {model.name!r} are not on this machine: {what}")
