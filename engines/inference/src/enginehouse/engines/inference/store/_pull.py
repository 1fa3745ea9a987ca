"""Pulling of weights from the Hugging Face hub to the folder in which engines look for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from enginehouse.engines.inference.store._hub import Remote, find_file, list_files
from enginehouse.engines.inference.store._transfer import PullProgress, checksum_of, fetch
from enginehouse.engines.inference.store.errors import StoreError
from enginehouse.kit.backends.sources import HubRepository, SourceError, parse_hub_file, parse_hub_repository
from enginehouse.kit.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Pulled:
    """Weights that are on this machine."""

    source: str
    path: Path
    size_bytes: int
    checksum: str
    """The hub's checksum: SHA-256 for large files, git's SHA-1 for small ones."""
    commit: str
    """The hub's commit that they came from."""
    fetched: bool
    """True if anything had to be fetched; False if they were here already and are still the hub's."""


def source_to_pull(name_or_source: str, catalog: Catalog) -> str:
    """Return the `hf:` source of a command's argument, which is a model of the catalog or a source itself.

    Raises:
        StoreError: the catalog has no such model, or the model needs no pull.
    """
    if name_or_source.startswith("hf:"):
        return name_or_source
    model = catalog.get(name_or_source)
    if model is None:
        known = ", ".join(model.name for model in catalog.models) or "none"
        raise StoreError(
            f"unknown model {name_or_source!r}; the catalog has: {known}. A file of the hub is named "
            "hf:ORG/REPO/FILE[@REVISION], a whole repository hf:ORG/REPO[@REVISION]"
        )
    if not model.source.startswith("hf:"):
        raise StoreError(f"{model.name} needs no pull: its source is {model.source}")
    return model.source


def pull(
    source: str,
    *,
    models_dir: Path,
    environ: Mapping[str, str],
    progress: Callable[[PullProgress], None] = lambda _: None,
    first_wait_s: float = 1.0,
) -> Pulled:
    """Fetch `hf:ORG/REPO/FILE[@REVISION]`, or all files of `hf:ORG/REPO[@REVISION]`, unless the same content is here.

    Args:
        source: the source.
        models_dir: the folder below which engines look for it.
        environ: has `HF_ENDPOINT` and `HF_TOKEN`.
        progress: called at the start and after each block.
        first_wait_s: seconds before the network is tried again; doubles with each failure in a row.

    Raises:
        StoreError: the hub refuses or cannot be reached, or the files cannot be written.
    """
    repository = parse_hub_repository(source)
    if repository is not None:
        return _pull_all(
            source,
            repository,
            models_dir=models_dir,
            environ=environ,
            progress=progress,
            first_wait_s=first_wait_s,
        )
    try:
        file = parse_hub_file(source)
    except SourceError as error:
        raise StoreError(str(error)) from None
    target = file.path(models_dir)
    remote = find_file(file, environ=environ)
    try:
        fetched = not _lies_here(target, remote)
        if fetched:
            fetch(remote, target, progress=progress, first_wait_s=first_wait_s)
            _note_origin(target, remote)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from None
    return Pulled(source, target, remote.size_bytes, remote.checksum, remote.commit, fetched)


def _pull_all(
    source: str,
    repository: HubRepository,
    *,
    models_dir: Path,
    environ: Mapping[str, str],
    progress: Callable[[PullProgress], None],
    first_wait_s: float,
) -> Pulled:
    """Fetch a repository's files, one after the other. Its checksum is the SHA-256 of theirs, by name."""
    names = list_files(repository, environ=environ)
    files = [
        pull(
            repository.source_of(name),
            models_dir=models_dir,
            environ=environ,
            progress=progress,
            first_wait_s=first_wait_s,
        )
        for name in names
    ]
    listed = "".join(f"{name} {file.checksum}\n" for name, file in zip(names, files, strict=True))
    return Pulled(
        source,
        repository.path(models_dir),
        sum(file.size_bytes for file in files),
        hashlib.sha256(listed.encode()).hexdigest(),
        files[0].commit,
        any(file.fetched for file in files),
    )


def _origin(target: Path) -> Path:
    return target.with_name(f".{target.name}.origin.json")


def _lies_here(target: Path, remote: Remote) -> bool:
    if not target.is_file() or target.stat().st_size != remote.size_bytes:
        return False
    try:
        noted = json.loads(_origin(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = {}
    modified = target.stat().st_mtime_ns
    if noted.get("checksum") == remote.checksum and noted.get("modified_ns") == modified:
        return True
    if checksum_of(target, like=remote.checksum) != remote.checksum:
        return False
    _note_origin(target, remote)
    return True


def _note_origin(target: Path, remote: Remote) -> None:
    noted = {"checksum": remote.checksum, "commit": remote.commit, "modified_ns": target.stat().st_mtime_ns}
    origin = _origin(target)
    temporary = origin.with_suffix(".tmp")
    temporary.write_text(json.dumps(noted) + "\n", encoding="utf-8")
    temporary.replace(origin)
