"""Strict reading of YAML files: one mapping a file, no key twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


class ConfigError(Exception):
    """Invalid configuration; the message names the file, the key and the fix."""


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                if key_node.value in seen:
                    line = key_node.start_mark.line + 1
                    raise ConfigError(f"line {line}: duplicate key {key_node.value!r}; keep one of them")
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds; an empty file is an empty mapping.

    Raises:
        ConfigError: the file cannot be read, is not YAML, repeats a key, or holds something other than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error}") from error
    return parse_mapping(text, origin=str(path))


def parse_mapping(text: str, *, origin: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; `origin` names it in errors."""
    try:
        # A subclass of SafeLoader, which builds plain values only.
        document = yaml.load(text, Loader=_StrictLoader)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{origin}: is not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: must hold a mapping of keys to values, not a {type(document).__name__}")
    for key in document:
        if not isinstance(key, str):
            raise ConfigError(f"{origin}: key {key!r} must be a string; quote it")
    return document
