"""Where a voice model's weights lie on this machine, from its catalog `source`. Looks, never fetches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError


def weights_folder(model: CatalogModel, *, models_dir: Path, files: Sequence[str], like: str) -> Path:
    """The folder that holds the model's weights.

    Sources: `file:FOLDER` (absolute, or relative to `models_dir`) and `hf:ORG/REPO[@REVISION]`, which lies at
    `models_dir/hf/ORG/REPO/REVISION` once it is pulled.

    Args:
        model: the catalog's entry.
        models_dir: where models lie.
        files: what must be in the folder.
        like: a repository of the Hugging Face hub that has these files, for errors.

    Raises WEIGHTS_ABSENT, naming what is missing and the command that fetches it; INVALID_REQUEST for another source.
    """
    scheme, _, rest = model.source.partition(":")
    if scheme == "file" and rest:
        folder = models_dir / Path(rest).expanduser()
        fix = (
            f"put them there, such as by: hf download {like} --local-dir {folder}; or change the model's source in "
            f"the catalog (it is {model.source!r})"
        )
    elif scheme == "hf" and (at := _hub_path(rest, parts=2)):
        folder = models_dir / at
        fix = f"fetch them with: enginehouse models pull {model.name}"
    else:
        raise _bad_source(model, "file:FOLDER or hf:ORG/REPO[@REVISION]")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise _absent(model, f"{folder} lacks {', '.join(missing)}; {fix}")
    return folder


def weights_file(model: CatalogModel, *, models_dir: Path, like: str) -> Path:
    """The file that holds the model's weights.

    Sources: `file:PATH` (absolute, or relative to `models_dir`) and `hf:ORG/REPO/FILE[@REVISION]`, which lies at
    `models_dir/hf/ORG/REPO/REVISION/FILE` once it is pulled. `like` says what kind of file it is, for errors.

    Raises WEIGHTS_ABSENT, naming the file and the command that fetches it; INVALID_REQUEST for another source.
    """
    scheme, _, rest = model.source.partition(":")
    if scheme == "file" and rest:
        path = models_dir / Path(rest).expanduser()
        fix = f"put {like} there, or change the model's source in the catalog (it is {model.source!r})"
    elif scheme == "hf" and (at := _hub_path(rest, parts=3)):
        path = models_dir / at
        fix = f"fetch it with: enginehouse models pull {model.name}"
    else:
        raise _bad_source(model, "file:PATH or hf:ORG/REPO/FILE[@REVISION]")
    if not path.is_file():
        raise _absent(model, f"{path} is missing; {fix}")
    return path


def _hub_path(rest: str, *, parts: int) -> Path | None:
    """`hf/ORG/REPO/REVISION` and the file, where there is to be one; None for what is not so formed."""
    named, _, revision = rest.partition("@")
    names = named.split("/")
    well_formed = len(names) == 2 if parts == 2 else len(names) >= parts
    if not well_formed or any(name in ("", ".", "..") or "\\" in name for name in names):
        return None
    if ".." in revision or revision.startswith("/"):
        return None
    return Path("hf", *names[:2], (revision or "main").replace("/", "--"), *names[2:])


def _bad_source(model: CatalogModel, forms: str) -> ServiceError:
    description = f"{model.source!r} must be {forms} for {model.backend}"
    return ServiceError(
        Reason.INVALID_REQUEST,
        f"model {model.name!r} in the catalog: source {description}",
        violations=[FieldViolation("source", description)],
    )


def _absent(model: CatalogModel, what: str) -> ServiceError:
    return ServiceError(Reason.WEIGHTS_ABSENT, f"the weights of {model.name!r} are not on this machine: {what}")
