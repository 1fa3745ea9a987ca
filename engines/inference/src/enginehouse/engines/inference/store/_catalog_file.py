"""Adding an entry to a catalog file, whose other bytes, comments included, stay as they are."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from enginehouse.engines.inference.store.errors import StoreError
from enginehouse.kit.catalog import Catalog, CatalogModel, load_catalog
from enginehouse.kit.config import ConfigError


def add_entry(path: Path, entry: Mapping[str, Any]) -> CatalogModel:
    """Write `entry` at the end of the file's `models`; create the file if there is none.

    The new file replaces the old one only if it is a valid catalog with the old models unchanged.

    Raises:
        StoreError: the catalog has a model of that name, or the entry or the file is not valid.
    """
    name = str(entry["name"])
    with _alone(path.parent):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        before = _load(path) if text else Catalog([])
        if before.get(name) is not None:
            raise StoreError(
                f"duplicate name: {path} already has a model {name!r}; choose another name, or edit that entry"
            )
        written = _inserted(text, yaml.safe_dump(dict(entry), sort_keys=False, allow_unicode=True), path)
        descriptor, temporary_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".yaml")
        temporary = Path(temporary_name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(written)
                file.flush()
                os.fsync(file.fileno())
            try:
                after = load_catalog(temporary)
            except ConfigError as error:
                raise StoreError(str(error).replace(str(temporary), str(path))) from None
            added = after.get(name)
            others = [model for model in after.models if model.name != name]
            if added is None or others != list(before.models) or after.aliases != before.aliases:
                raise StoreError(f"{path} has a form that an entry cannot be added to; add it by hand:\n{entry}")
            temporary.chmod(path.stat().st_mode if path.exists() else 0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return added


def _load(path: Path) -> Catalog:
    try:
        return load_catalog(path)
    except ConfigError as error:
        raise StoreError(str(error)) from None


def _inserted(text: str, entry: str, path: Path) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader) if text.strip() else None
    if root is None:
        return _joined(text, "models:\n" + _item(entry, 2), "")
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise StoreError(f"{path} must be written as a mapping in block style before an entry can be added")
    for key, models in root.value:
        if key.value != "models":
            continue
        if isinstance(models, yaml.SequenceNode) and not models.flow_style:
            end = models.end_mark.index
            return _joined(text[:end], _item(entry, models.start_mark.column), text[end:])
        if isinstance(models, yaml.SequenceNode) and models.value:
            raise StoreError(f"{path}: write models as a list of - lines before an entry is added")
        # Null, or an empty list in brackets: the entry takes its place.
        return _joined(
            text[: models.start_mark.index].rstrip(), "\n" + _item(entry, 2), text[models.end_mark.index :].lstrip(" ")
        )
    return _joined(text, "models:\n" + _item(entry, 2), "")


def _item(entry: str, column: int) -> str:
    lines = entry.splitlines()
    first, rest = lines[0], lines[1:]
    margin = " " * column
    return "".join([f"{margin}- {first}\n", *(f"{margin}  {line}\n" for line in rest)])


def _joined(head: str, item: str, tail: str) -> str:
    head = head.rstrip()
    if head and not item.startswith("\n"):
        head += "\n"
    tail = tail.lstrip("\n")
    return head + item + (f"\n{tail}" if tail else "")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Admit one writer at a time: the file itself is replaced, so the lock is on its folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"the catalog's folder {folder} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
