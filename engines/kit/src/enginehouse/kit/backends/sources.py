"""A model's `source` in the catalog: where its weights lie on this machine. Looks, never fetches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HUB_FILE_FORM = "hf:ORG/REPO/FILE[@REVISION]"
HUB_REPOSITORY_FORM = "hf:ORG/REPO[@REVISION]"


class SourceError(ValueError):
    """A source that cannot be read; the message names it and the forms that can."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a model repository, from `hf:ORG/REPO/FILE[@REVISION]`; FILE may hold folders."""

    repository: str
    file: str
    revision: str = "main"

    def path(self, models_dir: Path) -> Path:
        """Return where it lies once fetched: `models_dir/hf/ORG/REPO/REVISION/FILE`."""
        return HubRepository(self.repository, self.revision).path(models_dir) / self.file


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A whole model repository, from `hf:ORG/REPO[@REVISION]`, for models that are folders."""

    name: str
    revision: str = "main"

    def path(self, models_dir: Path) -> Path:
        """Return where it lies once fetched: `models_dir/hf/ORG/REPO/REVISION`."""
        return models_dir / "hf" / self.name / self.revision.replace("/", "--")

    def source_of(self, file: str) -> str:
        """Return the source of one of its files."""
        return f"hf:{self.name}/{file}@{self.revision}"


def parse_hub_file(source: str) -> HubFile:
    """Read `hf:ORG/REPO/FILE[@REVISION]`; raise SourceError for anything else."""
    parts, revision = _hub_parts(source)
    if len(parts) < 3:
        raise SourceError(f"source {source!r} is not of the form {HUB_FILE_FORM}")
    return HubFile(repository="/".join(parts[:2]), file="/".join(parts[2:]), revision=revision)


def parse_hub_repository(source: str) -> HubRepository | None:
    """Read `hf:ORG/REPO[@REVISION]`; return None for anything else."""
    parts, revision = _hub_parts(source)
    return HubRepository("/".join(parts), revision) if len(parts) == 2 else None


def _hub_parts(source: str) -> tuple[list[str], str]:
    """Return the names in a source of the hub and its revision; no names if it is not well formed."""
    scheme, _, rest = source.partition(":")
    path, _, revision = rest.partition("@")
    parts = path.split("/")
    # The names become folders: none may lead out of the place for models.
    well_formed = scheme == "hf" and all(part not in ("", ".", "..") and "\\" not in part for part in parts)
    if not well_formed or ".." in revision or revision.startswith("/"):
        return [], ""
    return parts, revision or "main"


def local_file(source: str, models_dir: Path) -> Path:
    """Return the file that a source names on this machine, whether or not it exists.

    Sources: `file:PATH` (absolute, or relative to `models_dir`) and `hf:ORG/REPO/FILE[@REVISION]`.

    Raises SourceError.
    """
    scheme, rest = split_source(source, known=("file", "hf"))
    return models_dir / Path(rest).expanduser() if scheme == "file" else parse_hub_file(source).path(models_dir)


def local_folder(source: str, models_dir: Path) -> Path:
    """Return the folder that a source names on this machine, whether or not it exists.

    Sources: `file:FOLDER` (absolute, or relative to `models_dir`) and `hf:ORG/REPO[@REVISION]`.

    Raises SourceError.
    """
    scheme, rest = split_source(source, known=("file", "hf"))
    if scheme == "file":
        return models_dir / Path(rest).expanduser()
    repository = parse_hub_repository(source)
    if repository is None:
        raise SourceError(f"source {source!r} is not of the form {HUB_REPOSITORY_FORM}")
    return repository.path(models_dir)


def split_source(source: str, *, known: tuple[str, ...]) -> tuple[str, str]:
    """Return a source's scheme and what follows it; raise SourceError where either is missing or unknown."""
    scheme, _, rest = source.partition(":")
    if not rest:
        forms = " or ".join(f"{name}:" for name in known)
        raise SourceError(f"source {source!r} names no weights; write {forms} before them")
    if scheme not in known:
        raise SourceError(f"source {source!r} has an unknown scheme {scheme!r}; known: {', '.join(known)}")
    return scheme, rest
