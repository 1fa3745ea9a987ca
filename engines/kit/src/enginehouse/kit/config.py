"""Configuration: one YAML file with a section a process, environment variables over it, validated once at start.

`ENGINEHOUSE_ROUTER__HTTP_LISTEN` overrides `http_listen` in the section `router`; further double underscores reach into
nested sections. A value that begins with `[` or `{` is read as YAML, so that lists fit into a variable.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import pydantic

from enginehouse.kit._documents import ConfigError, parse_mapping, read_mapping
from enginehouse.kit.nearest import did_you_mean

__all__ = ["ConfigError", "Section", "load"]

PREFIX = "ENGINEHOUSE_"

# Errors never repeat the values of such keys.
_SECRET_WORDS = ("secret", "password", "token", "key", "pepper", "url")


class Section(pydantic.BaseModel):
    """Base of a configuration section: frozen, and an unknown key is an error."""

    renamed: typing.ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Former keys of the section, each with the key to write now, which the error for a former key names."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


T = TypeVar("T", bound=Section)


def load(model: type[T], *, section: str, path: Path | None, environ: Mapping[str, str]) -> T:
    """Load a section of the file, with the environment over it, as a frozen object.

    Args:
        model: the section's class.
        section: its name in the file, such as "router".
        path: the file, or None to take everything from the environment and defaults.
        environ: the environment, usually `os.environ`.

    Raises:
        ConfigError: names the file (or variable), the key, the bad value unless it may be secret, and the nearest
            known key for an unknown one.
    """
    document = read_mapping(path) if path is not None else {}
    values = document.get(section)
    if values is None:
        values = {}
        if path is not None and section not in document and document:
            close = did_you_mean(section, document, list_known=True)
            missing = f"; the file has no section {section!r}{close}"
        else:
            missing = ""
    else:
        missing = ""
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: section {section!r} must be a mapping, not {type(values).__name__}")
    from_environment: dict[tuple[str, ...], str] = {}
    merged = _overlay(values, section=section, environ=environ, names=from_environment)
    try:
        return model.model_validate(merged)
    except pydantic.ValidationError as error:
        origin = str(path) if path is not None else "environment"
        lines = [_explain(model, section, origin, from_environment, detail) for detail in error.errors()]
        raise ConfigError("\n".join(lines) + missing) from None


def _overlay(
    values: Mapping[str, Any], *, section: str, environ: Mapping[str, str], names: dict[tuple[str, ...], str]
) -> dict[str, Any]:
    merged = _copy(values)
    start = f"{PREFIX}{section.upper().replace('-', '_')}__"
    for name in sorted(environ):
        if not name.startswith(start):
            continue
        keys = tuple(part.lower() for part in name[len(start) :].split("__"))
        if not all(keys):
            raise ConfigError(f"environment variable {name}: empty key; write {start}KEY")
        raw = environ[name]
        value: Any = raw
        if raw[:1] in "[{" and raw:
            value = parse_mapping(f"value: {raw}", origin=f"environment variable {name}")["value"]
        target = merged
        for key in keys[:-1]:
            inner = target.get(key)
            if not isinstance(inner, dict):
                inner = target[key] = {}
            target = inner
        target[keys[-1]] = value
        names[keys] = name
    return merged


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}


def _explain(
    model: type[pydantic.BaseModel],
    section: str,
    origin: str,
    names: Mapping[tuple[str, ...], str],
    detail: Any,
) -> str:
    location = tuple(str(part) for part in detail["loc"])
    variable = names.get(location)
    where = f"environment variable {variable}" if variable else f"{origin}: {'.'.join((section, *location))}"
    if detail["type"] == "extra_forbidden":
        owner = _model_at(model, location[:-1])
        now = owner.renamed.get(location[-1]) if owner is not None and issubclass(owner, Section) else None
        if now is not None:
            return f"{where}: key {location[-1]!r} was renamed; write {now!r}"
        return f"{where}: unknown key {location[-1]!r}{did_you_mean(location[-1], _keys(owner), list_known=True)}"
    if detail["type"] == "missing":
        name = f"{PREFIX}{section}__{'__'.join(location)}".upper()
        return f"{where}: missing; set it there or in {name}"
    value = detail.get("input")
    secret = any(word in part.lower() for part in location for word in _SECRET_WORDS)
    # A URL with a user in it may hold a password, whatever its key is called.
    secret |= isinstance(value, str) and "://" in value and "@" in value
    shown = "" if secret or isinstance(value, dict | list) else f" (got {value!r})"
    return f"{where}: {detail['msg']}{shown}"


def _model_at(model: type[pydantic.BaseModel], path: tuple[str, ...]) -> type[pydantic.BaseModel] | None:
    """Return the class of the section at a path of keys; None where the path leads through a list or a mapping."""
    current: type[pydantic.BaseModel] = model
    for part in path:
        if part not in current.model_fields:
            return None
        annotation = current.model_fields[part].annotation
        options = [annotation, *typing.get_args(annotation)]
        inner = next((o for o in options if isinstance(o, type) and issubclass(o, pydantic.BaseModel)), None)
        if inner is None:
            return None
        current = inner
    return current


def _keys(model: type[pydantic.BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []
