"""The keywords of one schema object, read and checked.

Older drafts' spellings are read as today's: `items` as a list, `dependencies`, `exclusiveMinimum` as a flag.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from enginehouse.engines.inference.grammar._formats import WHOLE_RANGES
from enginehouse.engines.inference.grammar._numbers import (
    ABOVE,
    AT_LEAST,
    AT_MOST,
    BELOW,
    Bound,
    Multiple,
    exact,
)
from enginehouse.engines.inference.grammar._references import SchemaError, SchemaPlace

KINDS = ("object", "array", "string", "number", "boolean", "null")
"""The types of JSON values; an integer is a number."""
TYPES = (*KINDS, "integer")
_SUPERSEDED = {
    "divisibleBy": "write multipleOf",
    "extends": "write allOf",
    "disallow": "write not",
    "$recursiveRef": "write $ref",
}


@dataclass(slots=True)
class Keywords:
    """The keywords of a schema object, in fields of much the same names."""

    place: SchemaPlace
    types: tuple[str, ...] = ()
    """Empty if any will do."""
    values: list[Any] | None = None
    """Of enum."""
    constant: tuple[Any] | None = None
    reference: str | None = None
    """The keyword of a reference: $ref or $dynamicRef."""
    all_of: tuple[SchemaPlace, ...] = ()
    any_of: tuple[SchemaPlace, ...] = ()
    one_of: tuple[SchemaPlace, ...] = ()
    negation: SchemaPlace | None = None
    condition: SchemaPlace | None = None
    consequence: SchemaPlace | None = None
    otherwise: SchemaPlace | None = None
    bounds: tuple[Bound, ...] = ()
    multiple: Multiple | None = None
    min_length: int = 0
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    first_items: tuple[SchemaPlace, ...] = ()
    items: SchemaPlace | None = None
    unique: bool = False
    contains: SchemaPlace | None = None
    min_contains: int = 1
    max_contains: int | None = None
    properties: Mapping[str, SchemaPlace] | None = None
    patterns: Mapping[str, SchemaPlace] = field(default_factory=dict)
    additional: SchemaPlace | None = None
    names: SchemaPlace | None = None
    required: tuple[str, ...] = ()
    min_properties: int = 0
    max_properties: int | None = None
    needed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of dependentRequired."""
    dependent: Mapping[str, SchemaPlace] = field(default_factory=dict)
    """Of dependentSchemas."""
    unevaluated_items: SchemaPlace | None = None
    unevaluated_properties: SchemaPlace | None = None

    @property
    def hints(self) -> frozenset[str]:
        """The types that the keywords speak of."""
        found = set()
        if self.properties is not None or self.patterns or self.additional is not None or self.required:
            found.add("object")
        if self.names is not None or self.min_properties or self.max_properties is not None:
            found.add("object")
        if self.needed or self.dependent or self.unevaluated_properties is not None:
            found.add("object")
        if self.first_items or self.items is not None or self.contains is not None or self.unique:
            found.add("array")
        if self.min_items or self.max_items is not None or self.unevaluated_items is not None:
            found.add("array")
        if self.min_length or self.max_length is not None or self.pattern is not None or self.format is not None:
            found.add("string")
        if self.bounds or self.multiple is not None:
            found.add("number")
        return frozenset(found)


class _Fields:
    """The members of a schema object by name, with errors that name them."""

    def __init__(self, place: SchemaPlace) -> None:
        self.place = place
        self.value: dict[str, Any] = place.value

    def fail(self, description: str) -> SchemaError:
        return SchemaError(self.place.path, description)

    def count(self, keyword: str) -> int | None:
        given = self.value.get(keyword)
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int | float) or given < 0 or given != int(given):
            raise self.fail(f"{keyword} {given!r} must be a whole number of at least 0")
        return int(given)

    def number(self, keyword: str) -> float | None:
        given = self.value.get(keyword)
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
            raise self.fail(f"{keyword} {given!r} must be a number")
        return given

    def text(self, keyword: str) -> str | None:
        given = self.value.get(keyword)
        if given is not None and not isinstance(given, str):
            raise self.fail(f"{keyword} {given!r} must be text")
        return given

    def schema(self, keyword: str) -> SchemaPlace | None:
        if keyword not in self.value:
            return None
        if not isinstance(self.value[keyword], dict | bool):
            raise self.fail(f"{keyword} {self.value[keyword]!r:.80} must be a schema: an object, true or false")
        return self.place.child(keyword)

    def schemas(self, keyword: str, *, least: int = 1) -> tuple[SchemaPlace, ...]:
        given = self.value.get(keyword)
        if given is None:
            return ()
        if not isinstance(given, list) or len(given) < least or not all(isinstance(s, dict | bool) for s in given):
            some = "a list of schemas" if least == 0 else "a list of at least one schema"
            raise self.fail(f"{keyword} {given!r:.80} must be {some}: objects, true or false")
        return tuple(self.place.child(keyword, index) for index in range(len(given)))

    def named(self, keyword: str) -> dict[str, SchemaPlace] | None:
        given = self.value.get(keyword)
        if given is None:
            return None
        if not isinstance(given, dict) or not all(isinstance(s, dict | bool) for s in given.values()):
            raise self.fail(
                f"{keyword} {given!r:.80} must be an object whose values are schemas: objects, true or false"
            )
        return {name: self.place.child(keyword, name) for name in given}

    def strings(self, keyword: str, given: Any) -> tuple[str, ...]:
        if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
            raise self.fail(f"{keyword} {given!r:.80} must be a list of names")
        return tuple(dict.fromkeys(given))


def read_keywords(place: SchemaPlace) -> Keywords:
    """Return the keywords of a schema object.

    Raises:
        SchemaError: one is malformed.
    """
    fields = _Fields(place)
    for keyword, fix in _SUPERSEDED.items():
        if keyword in fields.value:
            raise fields.fail(f"{keyword!r} is of another draft; {fix}")
    read = Keywords(place)
    _read_general(read, fields)
    _read_numbers(read, fields)
    read.min_length, read.max_length = fields.count("minLength") or 0, fields.count("maxLength")
    read.pattern = fields.text("pattern")
    if not read.types or "string" in read.types:
        # Formats are of texts, but for those of whole numbers, which are bounds.
        read.format = fields.text("format")
    _read_items(read, fields)
    _read_properties(read, fields)
    return read


def _read_general(read: Keywords, fields: _Fields) -> None:
    given = fields.value.get("type")
    if given is not None:
        types = given if isinstance(given, list) else [given]
        for kind in types:
            if kind not in TYPES:
                raise fields.fail(f"unknown type {kind!r}; known: {', '.join(TYPES)}")
        if not types:
            raise fields.fail("type [] must name at least one type, or be left out")
        if fields.value.get("nullable") is True:
            types = [*types, "null"]
        read.types = tuple(dict.fromkeys(types))
    if "enum" in fields.value:
        read.values = fields.value["enum"]
        if not isinstance(read.values, list) or not read.values:
            raise fields.fail(f"enum {read.values!r:.80} must be a list of at least one value")
    if "const" in fields.value:
        read.constant = (fields.value["const"],)
    read.reference = next((keyword for keyword in ("$ref", "$dynamicRef") if keyword in fields.value), None)
    if read.reference == "$ref" and "$dynamicRef" in fields.value:
        raise fields.fail("'$ref' together with '$dynamicRef' cannot be enforced; use one")
    read.all_of, read.any_of = fields.schemas("allOf"), fields.schemas("anyOf")
    read.one_of = fields.schemas("oneOf")
    read.negation, read.condition = fields.schema("not"), fields.schema("if")
    read.consequence, read.otherwise = fields.schema("then"), fields.schema("else")


def _read_numbers(read: Keywords, fields: _Fields) -> None:
    bounds = []
    for keyword, sides, strict in (("minimum", AT_LEAST, ABOVE), ("maximum", AT_MOST, BELOW)):
        exclusive = f"exclusive{keyword.capitalize()}"
        flag = fields.value.get(exclusive)
        given = fields.number(keyword)
        if given is not None:
            bounds.append(Bound(exact(given), strict if flag is True else sides))
        if not isinstance(flag, bool):
            given = fields.number(exclusive)
            if given is not None:
                bounds.append(Bound(exact(given), strict))
    form = fields.text("format")
    if form is not None and form in WHOLE_RANGES and (not read.types or {"integer", "number"} & {*read.types}):
        low, high = WHOLE_RANGES[form]
        bounds += [Bound(exact(low), AT_LEAST), Bound(exact(high), AT_MOST)]
    read.bounds = tuple(bounds)
    step = fields.number("multipleOf")
    if step is not None:
        if step <= 0:
            raise fields.fail(f"multipleOf {step!r} must be over 0")
        read.multiple = Multiple(exact(step), wanted=True)


def _read_items(read: Keywords, fields: _Fields) -> None:
    read.min_items, read.max_items = fields.count("minItems"), fields.count("maxItems")
    if isinstance(fields.value.get("items"), list):
        read.first_items = fields.schemas("items", least=0)
        read.items = fields.schema("additionalItems")
    else:
        read.first_items = fields.schemas("prefixItems")
        read.items = fields.schema("items")
    unique = fields.value.get("uniqueItems", False)
    if not isinstance(unique, bool):
        raise fields.fail(f"uniqueItems {unique!r} must be true or false")
    read.unique = unique
    read.contains = fields.schema("contains")
    least = fields.count("minContains")
    read.min_contains = 1 if least is None else least
    read.max_contains = fields.count("maxContains")
    read.unevaluated_items = fields.schema("unevaluatedItems")


def _read_properties(read: Keywords, fields: _Fields) -> None:
    read.properties = fields.named("properties")
    read.patterns = fields.named("patternProperties") or {}
    read.additional, read.names = fields.schema("additionalProperties"), fields.schema("propertyNames")
    if fields.value.get("required") is not None:
        read.required = fields.strings("required", fields.value["required"])
    read.min_properties = fields.count("minProperties") or 0
    read.max_properties = fields.count("maxProperties")
    needed = fields.value.get("dependentRequired", {})
    if not isinstance(needed, dict):
        raise fields.fail(f"dependentRequired {needed!r:.80} must be an object whose values are lists of names")
    read.needed = {name: fields.strings("dependentRequired", names) for name, names in needed.items()}
    read.dependent = fields.named("dependentSchemas") or {}
    older = fields.value.get("dependencies", {})
    if not isinstance(older, dict):
        raise fields.fail(f"dependencies {older!r:.80} must be an object of schemas and lists of names")
    for name, given in older.items():
        if isinstance(given, list):
            read.needed = {**read.needed, name: fields.strings("dependencies", given)}
        elif isinstance(given, dict | bool):
            read.dependent = {**read.dependent, name: fields.place.child("dependencies", name)}
        else:
            raise fields.fail(f"dependencies has {given!r:.80} for {name!r}; give a schema or a list of names")
    read.unevaluated_properties = fields.schema("unevaluatedProperties")
