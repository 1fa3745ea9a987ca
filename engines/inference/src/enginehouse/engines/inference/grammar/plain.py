"""Schemas as the readers of model runtimes take them."""

from __future__ import annotations

from typing import Any

from enginehouse.engines.inference.grammar._keywords import TYPES
from enginehouse.engines.inference.grammar._references import LISTS, NAMED, ONE, Document, SchemaError, SchemaPlace
from enginehouse.engines.inference.grammar.schemas import invalid_schema

# Where readers know a boolean.
_FLAGS = frozenset({"additionalProperties", "additionalItems", "unevaluatedProperties", "unevaluatedItems"})
_MAX_INTEGER = 2**63 - 1


def plain_schema(schema: dict[str, Any], *, field: str) -> dict[str, Any]:
    """Return a schema that asks for the same, without booleans, references by name and bounds over 64 bits.

    Raises:
        ServiceError: INVALID_SCHEMA, naming the field, for an unknown type or a reference that leads nowhere.
    """
    document = Document(schema)
    try:
        plain = _plain(document, document.root)
    except SchemaError as error:
        raise invalid_schema(field, str(error)) from None
    assert isinstance(plain, dict)
    return plain


def _plain(document: Document, place: SchemaPlace) -> Any:
    value = place.value
    if isinstance(value, bool):
        return {} if value else {"not": {}}
    if not isinstance(value, dict):
        return value
    plain: dict[str, Any] = {}
    for keyword, given in value.items():
        if keyword == "type" and given is not None:
            for kind in given if isinstance(given, list) else [given]:
                if kind not in TYPES:
                    raise SchemaError(place.path, f"unknown type {kind!r}; known: {', '.join(TYPES)}")
            plain[keyword] = given
        elif keyword in ("$ref", "$dynamicRef"):
            plain["$ref"] = document.resolve(place, keyword).path
        elif keyword in ONE and isinstance(given, dict | bool):
            plain[keyword] = (
                given if given in (True, False) and keyword in _FLAGS else _plain(document, place.child(keyword))
            )
        elif keyword in LISTS and isinstance(given, list):
            plain[keyword] = [_plain(document, place.child(keyword, index)) for index in range(len(given))]
        elif keyword in NAMED and isinstance(given, dict):
            plain[keyword] = {name: _plain(document, place.child(keyword, name)) for name in given}
        elif isinstance(given, int | float) and abs(given) > _MAX_INTEGER:
            # A bound that their integers cannot hold; leaving it out asks for less.
            continue
        elif keyword not in ("$id", "$anchor", "$dynamicAnchor"):
            plain[keyword] = given
    return plain
