"""Changes of a catalog file, whose other bytes, comments included, stay as they are.

A change is made in the text, and takes the file's place only if the result is a valid catalog in which nothing but the
wanted has changed.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from enginehouse.kit._documents import ConfigError
from enginehouse.kit.catalog import Catalog, CatalogModel, load_catalog
from enginehouse.kit.nearest import did_you_mean


def add_entry(path: Path, entry: Mapping[str, Any]) -> CatalogModel:
    """Write `entry` at the end of the file's `models`; create the file if there is none. Return it as it is then read.

    Raises:
        ConfigError: the catalog has a model of that name, or the entry or the file is not valid.
    """
    name = str(entry["name"])
    with _alone(path.parent):
        text = _read(path)
        before = load_catalog(path) if text else Catalog([])
        if before.get(name) is not None:
            raise ConfigError(
                f"duplicate name: {path} already has a model {name!r}; choose another name, or change that one with "
                f"`enginehouse models edit {name}`"
            )

        def is_added(after: Catalog) -> bool:
            others = tuple(model for model in after.models if model.name != name)
            return after.get(name) is not None and others == before.models and after.aliases == before.aliases

        otherwise = f"{path} has a form that an entry cannot be added to; add it by hand:\n{dict(entry)}"
        after = _replace(path, _inserted(text, _dump(entry), path), is_added, otherwise)
    return next(model for model in after.models if model.name == name)


def edit_entry(path: Path, name: str, changes: Mapping[str, Any]) -> tuple[CatalogModel, CatalogModel]:
    """Change keys of a model's entry; None removes a key. Return the model as it was and as it is.

    Raises:
        ConfigError: the catalog has no such model, or the changed entry or the file is not valid.
    """
    with _alone(path.parent):
        text = _read(path)
        before = load_catalog(path)
        old = _known(before, name, path)
        entries = _entries(text)
        wanted = [_changed(entry, changes) if entry["name"] == name else entry for entry in entries]
        node, at = _find(text, name, path)
        written = text
        if node.flow_style:
            lines = _block(_changed(entries[at], changes), node.start_mark.column)
            written = text[: node.start_mark.index] + lines.strip() + text[node.end_mark.index :]
        else:
            for key, value in changes.items():
                node, _ = _find(written, name, path)
                written = _with_key(written, node, key, value)
        after = _replace(
            path,
            written,
            lambda after: _entries(written) == wanted and after.aliases == before.aliases,
            f"{path} has a form in which {name!r} cannot be changed; change it by hand",
        )
    return old, next(model for model in after.models if model.name == name)


def remove_entry(path: Path, name: str, *, with_aliases: bool = False) -> CatalogModel:
    """Remove a model's entry, with the comments right above it. Return the model as it was.

    Args:
        path: the file.
        name: the model.
        with_aliases: remove aliases of the model too; without it, such a model is refused.

    Raises:
        ConfigError: the catalog has no such model, aliases stand for it, or the file is not valid.
    """
    with _alone(path.parent):
        text = _read(path)
        before = load_catalog(path)
        old = _known(before, name, path)
        aliases = [alias for alias, target in before.aliases.items() if target == name]
        if aliases and not with_aliases:
            raise ConfigError(
                f"{path}: {', '.join(aliases)} {'is an alias' if len(aliases) == 1 else 'are aliases'} of {name!r}; "
                "give --with-aliases to remove them too, or name another model for them in the file"
            )
        written = _without_item(text, name, path)
        for alias in aliases:
            written = _without_alias(written, alias, path)
        others = tuple(model for model in before.models if model.name != name)
        kept = {alias: target for alias, target in before.aliases.items() if target != name}
        _replace(
            path,
            written,
            lambda after: after.models == others and dict(after.aliases) == kept,
            f"{path} has a form that {name!r} cannot be removed from; remove it by hand",
        )
    return old


def _known(catalog: Catalog, name: str, path: Path) -> CatalogModel:
    model = catalog.get(name)
    if model is None:
        if name in catalog.aliases:
            raise ConfigError(f"{path}: {catalog.absence(name)}")
        known = [other.name for other in catalog.models]
        raise ConfigError(f"{path} has no model {name[:128]!r}{did_you_mean(name, known)}; it has: {', '.join(known)}")
    return model


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _replace(path: Path, text: str, is_wanted: Callable[[Catalog], bool], otherwise: str) -> Catalog:
    """Write the file, atomically, if the text is a valid catalog, and the wanted one."""
    try:
        descriptor, temporary_name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".yaml")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    temporary = Path(temporary_name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            catalog = load_catalog(temporary)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(temporary), str(path))) from None
        if not is_wanted(catalog):
            raise ConfigError(otherwise)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return catalog


def _entries(text: str) -> list[dict[str, Any]]:
    return list((yaml.safe_load(text) or {}).get("models") or [])


def _changed(entry: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**entry, **changes}.items() if not (key in changes and value is None)}


def _dump(value: Any) -> str:
    return str(yaml.safe_dump(value if isinstance(value, list) else dict(value), sort_keys=False, allow_unicode=True))


def _root(text: str, path: Path) -> yaml.MappingNode | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader) if text.strip() else None
    if root is not None and (not isinstance(root, yaml.MappingNode) or root.flow_style):
        raise ConfigError(f"{path} must be written as a mapping in block style before an entry can be changed")
    return root


def _part(text: str, key: str, path: Path) -> yaml.Node | None:
    root = _root(text, path)
    return None if root is None else next((value for name, value in root.value if name.value == key), None)


def _find(text: str, name: str, path: Path) -> tuple[yaml.MappingNode, int]:
    """Return the node of a model's entry, and its place in the list."""
    models = _part(text, "models", path)
    if not isinstance(models, yaml.SequenceNode) or models.flow_style:
        raise ConfigError(f"{path}: write models as a list of - lines before an entry is changed")
    for at, node in enumerate(models.value):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "name" and value.value == name:
                    return node, at
    raise ConfigError(f"{path} has no entry in which {name!r} can be changed; change it by hand")


def _inserted(text: str, entry: str, path: Path) -> str:
    models = _part(text, "models", path)
    if models is None:
        return _joined(text, "models:\n" + _item(entry, 2), "")
    if isinstance(models, yaml.SequenceNode) and not models.flow_style:
        end = models.end_mark.index
        return _joined(text[:end], _item(entry, models.start_mark.column), text[end:])
    if isinstance(models, yaml.SequenceNode) and models.value:
        raise ConfigError(f"{path}: write models as a list of - lines before an entry is added")
    # Null, or an empty list in brackets: the entry takes its place.
    return _joined(
        text[: models.start_mark.index].rstrip(), "\n" + _item(entry, 2), text[models.end_mark.index :].lstrip(" ")
    )


def _item(entry: str, column: int) -> str:
    first, *rest = entry.splitlines()
    margin = " " * column
    return "".join([f"{margin}- {first}\n", *(f"{margin}  {line}\n" for line in rest)])


def _joined(head: str, item: str, tail: str) -> str:
    head = head.rstrip()
    if head and not item.startswith("\n"):
        head += "\n"
    tail = tail.lstrip("\n")
    return head + item + (f"\n{tail}" if tail else "")


def _block(value: Mapping[str, Any], column: int) -> str:
    return "".join(f"{' ' * column}{line}\n" for line in _dump(value).splitlines())


def _with_key(text: str, node: yaml.MappingNode, key: str, value: Any) -> str:
    """Return the text with a key of a block mapping set, or removed if the value is None."""
    lines = text.splitlines(keepends=True)
    column = node.start_mark.column
    block = "" if value is None else _block({key: value}, column)
    for at, (name, held) in enumerate(node.value):
        if name.value != key:
            continue
        if value is not None and held.start_mark.line == held.end_mark.line == name.start_mark.line:
            # A value on its key's line: what follows it, such as a comment, stays.
            inner = block.strip()
            if "\n" not in inner:
                return text[: name.start_mark.index] + inner + text[held.end_mark.index :]
        first = name.start_mark.line
        last = node.value[at + 1][0].start_mark.line if at + 1 < len(node.value) else _end(lines, first, column)
        last = _without_tail(lines, first, last, column)
        if at == 0:
            # The first key stands behind the dash.
            dash = lines[first][:column]
            rest = block[column:] if block else "".join(lines[last:])[column:]
            return str("".join(lines[:first]) + dash + rest + ("".join(lines[last:]) if block else ""))
        return "".join(lines[:first]) + block + "".join(lines[last:])
    if value is None:
        return text
    end = _without_tail(lines, node.start_mark.line, _end(lines, node.start_mark.line, column), column)
    if not lines[end - 1].endswith("\n"):
        lines[end - 1] += "\n"
    return "".join(lines[:end]) + block + "".join(lines[end:])


def _end(lines: Sequence[str], first: int, column: int) -> int:
    """Return the line after a block whose keys stand at a column: the first of less indentation."""
    for at in range(first + 1, len(lines)):
        stripped = lines[at].lstrip(" ")
        if stripped.strip() and not stripped.startswith("#") and len(lines[at]) - len(stripped) < column:
            return at
    return len(lines)


def _without_tail(lines: Sequence[str], first: int, last: int, column: int) -> int:
    """Return the end of a block without the blank lines and the less indented comments that are about what follows."""
    while last > first + 1:
        stripped = lines[last - 1].lstrip(" ")
        blank = not stripped.strip()
        outer = stripped.startswith("#") and len(lines[last - 1]) - len(stripped) < column
        if not blank and not outer:
            return last
        last -= 1
    return last


def _without_item(text: str, name: str, path: Path) -> str:
    node, _ = _find(text, name, path)
    models = _part(text, "models", path)
    assert isinstance(models, yaml.SequenceNode)
    lines = text.splitlines(keepends=True)
    column = node.start_mark.column
    first = node.start_mark.line
    last = _without_tail(lines, first, _end(lines, first, column), column)
    dash = models.start_mark.column
    while first and lines[first - 1].strip().startswith("#") and lines[first - 1].index("#") >= dash:
        first -= 1
    if len(models.value) == 1:
        # A list without entries would read as null, which is as good, but says less.
        start = text.index("models", _line_index(lines, _key_line(text, "models", path)))
        head = text[: text.index(":", start) + 1]
        return head + " []\n" + "".join(lines[last:])
    # One of the blank lines around it goes with it.
    if last < len(lines) and not lines[last].strip():
        last += 1
    return "".join(lines[:first]) + "".join(lines[last:])


def _key_line(text: str, key: str, path: Path) -> int:
    root = _root(text, path)
    assert root is not None
    return next(int(name.start_mark.line) for name, _ in root.value if name.value == key)


def _line_index(lines: Sequence[str], line: int) -> int:
    return sum(len(before) for before in lines[:line])


def _without_alias(text: str, alias: str, path: Path) -> str:
    aliases = _part(text, "aliases", path)
    if not isinstance(aliases, yaml.MappingNode) or aliases.flow_style:
        raise ConfigError(f"{path}: write aliases as lines of NAME: MODEL before one is removed")
    lines = text.splitlines(keepends=True)
    for name, held in aliases.value:
        if name.value == alias:
            first, last = name.start_mark.line, held.end_mark.line + 1
            if len(aliases.value) == 1:
                first = _key_line(text, "aliases", path)
            return "".join(lines[:first]) + "".join(lines[last:])
    raise ConfigError(f"{path} has no alias {alias!r} that can be removed; remove it by hand")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Admit one writer at a time: the file itself is replaced, so the lock is on its folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ConfigError(f"the catalog's folder {folder} cannot be opened: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
