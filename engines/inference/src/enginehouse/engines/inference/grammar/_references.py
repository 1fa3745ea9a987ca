"""Places in a schema, and the references between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

ONE = ("additionalProperties", "items", "additionalItems", "contains", "propertyNames", "not", "if", "then", "else",
        "unevaluatedProperties", "unevaluatedItems", "contentSchema")  # fmt: skip
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")


CIRCLE = (
    "the schema leads back to itself, without a value in between; refer to it from within a property or an item, or "
    "leave the reference out"
)


class SchemaError(ValueError):
    """A schema that cannot be enforced.

    Args:
        path: the place at fault, such as `#/properties/age`.
        description: the fault, then the fix.
    """

    def __init__(self, path: str, description: str) -> None:
        super().__init__(f"at {path}: {description}")


@dataclass(frozen=True, slots=True)
class SchemaPlace:
    """A schema within a document, equal to another if it has the same path."""

    path: str
    """The pointer from the root, such as `#/properties/age`."""
    value: Any = field(compare=False, hash=False)
    base: str = field(compare=False, hash=False)
    """The address that its references are relative to."""

    def child(self, *keys: str | int) -> SchemaPlace:
        """Return the schema at a path from here."""
        place = self
        for key in keys:
            value = place.value[key]
            escaped = str(key).replace("~", "~0").replace("/", "~1")
            place = SchemaPlace(f"{place.path}/{escaped}", value, _base(value, place.base))
        return place


def _base(value: Any, base: str) -> str:
    name = value.get("$id") if isinstance(value, dict) else None
    return urljoin(base, urldefrag(name)[0]) if isinstance(name, str) and not name.startswith("#") else base


class Document:
    """A schema with the names that its references may use."""

    def __init__(self, root: Any) -> None:
        self.root = SchemaPlace("#", root, _base(root, ""))
        self._resources: dict[str, SchemaPlace] = {}
        self._anchors: dict[tuple[str, str], SchemaPlace] = {}
        self._dynamic: dict[str, int] = {}
        self._resources[""] = self.root
        self._add(self.root)

    def _add(self, place: SchemaPlace) -> None:
        waiting = [place]
        while waiting:
            place = waiting.pop()
            if not isinstance(place.value, dict):
                continue
            name = place.value.get("$id")
            if isinstance(name, str):
                if name.startswith("#"):
                    self._anchors[place.base, name[1:]] = place
                else:
                    self._resources.setdefault(place.base, place)
            for keyword in ("$anchor", "$dynamicAnchor"):
                anchor = place.value.get(keyword)
                if isinstance(anchor, str):
                    self._anchors[place.base, anchor] = place
                    self._dynamic[anchor] = self._dynamic.get(anchor, 0) + (keyword == "$dynamicAnchor")
            waiting += _inner(place)

    def resolve(self, place: SchemaPlace, keyword: str = "$ref") -> SchemaPlace:
        """Return the schema that a place refers to.

        Raises:
            SchemaError: it is outside of the document, or there is none.
        """
        reference = place.value[keyword]
        if not isinstance(reference, str):
            raise SchemaError(place.path, f"{keyword} {reference!r} must be text, such as '#/$defs/name'")
        address, fragment = urldefrag(reference)
        base = urljoin(place.base, address) if address else place.base
        resource = self._resources.get(base)
        if resource is None and not address:
            resource = self.root
        if resource is None:
            raise SchemaError(
                place.path,
                f"{keyword} {reference!r} points out of the schema, and nothing is fetched; copy it into '$defs'",
            )
        fragment = unquote(fragment)
        if keyword == "$dynamicRef" and self._dynamic.get(fragment, 0) > 1:
            raise SchemaError(place.path, f"$dynamicRef {reference!r} has several targets; use '$ref'")
        if fragment and not fragment.startswith("/"):
            anchored = self._anchors.get((base, fragment))
            if anchored is None:
                raise SchemaError(
                    place.path,
                    f"{keyword} {reference!r} names no $anchor of the schema; give a place, such as '#/$defs/name'",
                )
            return anchored
        target = resource
        for part in fragment.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target.value, list) and key.isdigit() and int(key) < len(target.value):
                target = target.child(int(key))
            elif isinstance(target.value, dict) and key in target.value:
                target = target.child(key)
            else:
                raise SchemaError(
                    place.path,
                    f"{keyword} {reference!r} points at nothing; add that schema, or give the place of another, such "
                    "as '#/$defs/name'",
                )
        if not isinstance(target.value, dict | bool):
            raise SchemaError(
                place.path,
                f"{keyword} {reference!r} points at {target.value!r:.80}, which is no schema; point at an object, true "
                "or false",
            )
        return target


def _inner(place: SchemaPlace) -> Iterator[SchemaPlace]:
    for keyword in ONE:
        if isinstance(place.value.get(keyword), dict):
            yield place.child(keyword)
    for keyword in LISTS:
        if isinstance(place.value.get(keyword), list):
            for index in range(len(place.value[keyword])):
                yield place.child(keyword, index)
    for keyword in NAMED:
        if isinstance(place.value.get(keyword), dict):
            for name in place.value[keyword]:
                yield place.child(keyword, name)
