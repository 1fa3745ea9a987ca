"""Joining of schemas that must hold together."""

from __future__ import annotations

from typing import Any

_NOTES = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$id", "$schema",
     "$anchor", "$defs", "definitions"}
)  # fmt: skip
_LARGER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems"})
_SMALLER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems"})


class MergeError(ValueError):
    """Two schemas that cannot be joined; the message names the keyword."""


def merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that holds where both do; raise MergeError if one schema cannot express that."""
    merged = dict(one)
    for key, value in other.items():
        if key not in merged or merged[key] is None or key in _NOTES:
            if key not in _NOTES:
                merged[key] = value
        elif merged[key] != value:
            merged[key] = _both(key, merged[key], value)
    return merged


def _both(key: str, one: Any, other: Any) -> Any:
    try:
        if key == "properties":
            joined = dict(one)
            for name, schema in other.items():
                joined[name] = merge(joined[name], schema) if name in joined else schema
            return joined
        if key == "required":
            return list(dict.fromkeys([*one, *other]))
        if key == "type":
            return _types(one, other)
        if key == "enum":
            return [value for value in one if value in other]
        if key == "additionalProperties" and False in (one, other):
            return False
        if key == "items":
            return merge(one, other)
        if key in _LARGER:
            return max(one, other)
        if key in _SMALLER:
            return min(one, other)
    except (TypeError, AttributeError):
        raise MergeError(f"{key!r} is malformed") from None
    raise MergeError(f"{key!r} is given twice with different values, which cannot be enforced together")


def _types(one: Any, other: Any) -> Any:
    ours = one if isinstance(one, list) else [one]
    theirs = other if isinstance(other, list) else [other]
    both = [kind for kind in ours if kind in theirs or (kind == "integer" and "number" in theirs)]
    both += [kind for kind in theirs if kind == "integer" and "number" in ours and kind not in both]
    if not both:
        raise MergeError(f"nothing is both {one!r} and {other!r}")
    return both
