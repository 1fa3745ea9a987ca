"""Where a model's weights lie on this machine, from its catalog `source`. Looks, never fetches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUNDLED_DIR = Path(__file__).parent / "bundled"


class SourceError(ValueError):
    """A source that cannot be read; the message names it and the forms that can."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a model repository, from `hf:ORG/REPO/FILE[@REVISION]`; FILE may hold folders."""

    repository: str
    file: str
    revision: str = "main"

    def path(self, models_dir: Path) -> Path:
        """Where it lies once fetched: `models_dir/hf/ORG/REPO/REVISION/FILE`."""
        return models_dir / "hf" / self.repository / self.revision.replace("/", "--") / self.file


def parse_hub_file(source: str) -> HubFile:
    """Reads `hf:ORG/REPO/FILE[@REVISION]`; raises SourceError."""
    scheme, _, rest = source.partition(":")
    path, _, revision = rest.partition("@")
    parts = path.split("/")
    well_formed = len(parts) >= 3 and all(part not in ("", ".", "..") and "\\" not in part for part in parts)
    if scheme != "hf" or not well_formed or ".." in revision or revision.startswith("/"):
        raise SourceError(f"source {source!r} is not of the form hf:ORG/REPO/FILE[@REVISION]")
    return HubFile(repository="/".join(parts[:2]), file="/".join(parts[2:]), revision=revision or "main")


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A whole model repository, from `hf:ORG/REPO[@REVISION]`, for models that are folders."""

    name: str
    revision: str = "main"

    def path(self, models_dir: Path) -> Path:
        """Where it lies once fetched: `models_dir/hf/ORG/REPO/REVISION`."""
        return models_dir / "hf" / self.name / self.revision.replace("/", "--")

    def source_of(self, file: str) -> str:
        """The source of one of its files."""
        return f"hf:{self.name}/{file}@{self.revision}"


def parse_hub_repository(source: str) -> HubRepository | None:
    """Reads `hf:ORG/REPO[@REVISION]`; None for anything else."""
    scheme, _, rest = source.partition(":")
    path, _, revision = rest.partition("@")
    parts = path.split("/")
    well_formed = len(parts) == 2 and all(part not in ("", ".", "..") and "\\" not in part for part in parts)
    if scheme != "hf" or not well_formed or ".." in revision or revision.startswith("/"):
        return None
    return HubRepository(path, revision or "main")


def package_model_path(package: str, models_dir: Path) -> Path:
    """Where the GGUF converted from an installed package's weights lies: `models_dir/package/NAME.gguf`."""
    return models_dir / "package" / f"{package}.gguf"


def weights_path(source: str, models_dir: Path) -> Path:
    """The file that `source` names on this machine, whether or not it exists; raises SourceError.

    Sources: `bundled:FILE` (ships with this distribution), `file:PATH` (absolute, or relative to `models_dir`),
    `hf:ORG/REPO/FILE[@REVISION]` (after `enginehouse models pull`), `package:NAME` (converted from a package).
    """
    scheme, _, rest = source.partition(":")
    if not rest:
        raise SourceError(f"source {source!r} names no weights; write bundled:, file:, hf: or package: before them")
    if scheme == "bundled":
        if "/" in rest or "\\" in rest:
            raise SourceError(f"source {source!r} must be a plain file name after bundled:")
        return BUNDLED_DIR / rest
    if scheme == "file":
        return models_dir / Path(rest).expanduser()
    if scheme == "hf":
        return parse_hub_file(source).path(models_dir)
    if scheme == "package":
        return package_model_path(rest, models_dir)
    raise SourceError(f"source {source!r} has an unknown scheme {scheme!r}; known: bundled, file, hf, package")
