"""Evaluation of given values by schemas, for `enum`, `const` and names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from enginehouse.engines.inference.grammar._keywords import Keywords, read_keywords
from enginehouse.engines.inference.grammar._numbers import admits, exact
from enginehouse.engines.inference.grammar._references import CIRCLE, Document, SchemaError, SchemaPlace
from enginehouse.engines.inference.grammar._texts import Texts

_MAX_DEPTH = 100


def kind_of(value: Any) -> str:
    """Return the type of a JSON value, where an integer is a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def identity(value: Any) -> str:
    """Return a text that is the same for equal JSON values: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return f"[{','.join(map(identity, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(name)}:{identity(value[name])}' for name in sorted(value))}}}"
    return json.dumps(value)


class Evaluation:
    """An evaluator of values by the schemas of one document."""

    def __init__(self, document: Document, texts: Texts) -> None:
        self._document = document
        self._texts = texts
        self._read: dict[str, Keywords] = {}

    def keywords(self, place: SchemaPlace) -> Keywords:
        """Return the keywords of a schema object; raise SchemaError if one is malformed."""
        found = self._read.get(place.path)
        if found is None:
            found = self._read[place.path] = read_keywords(place)
        return found

    def satisfies(self, value: Any, place: SchemaPlace, *, generous: bool = False, depth: int = 0) -> bool:
        """Return whether a value satisfies a schema.

        Args:
            generous: true to say yes where readers differ, false to say no.

        Raises:
            SchemaError: a schema that cannot be enforced, or leads back to itself.
        """
        if isinstance(place.value, bool):
            return place.value
        if depth > _MAX_DEPTH:
            raise SchemaError(place.path, CIRCLE)
        words = self.keywords(place)
        if words.types and not any(_is_a(value, kind) for kind in words.types):
            return False
        if words.values is not None and identity(value) not in map(identity, words.values):
            return False
        if words.constant is not None and identity(value) != identity(words.constant[0]):
            return False

        def inner(part: Any, schema: SchemaPlace, *, opposite: bool = False) -> bool:
            return self.satisfies(part, schema, generous=generous != opposite, depth=depth + 1)

        if not self._composed(value, words, inner):
            return False
        if isinstance(value, str):
            return self._text(value, words, generous)
        if isinstance(value, list):
            return _array(value, words, inner)
        if isinstance(value, dict):
            return self._object(value, words, inner, generous)
        if kind_of(value) == "number":
            return admits(exact(value), words.bounds, [words.multiple] if words.multiple else [])
        return True

    def _composed(self, value: Any, words: Keywords, inner: Callable[..., bool]) -> bool:
        if words.reference is not None and not inner(value, self._document.resolve(words.place, words.reference)):
            return False
        if not all(inner(value, part) for part in words.all_of):
            return False
        if words.any_of and not any(inner(value, part) for part in words.any_of):
            return False
        if words.one_of:
            fitting = [part for part in words.one_of if inner(value, part)]
            widely = [part for part in words.one_of if inner(value, part, opposite=True)]
            if len(fitting) != 1 or len(widely) != 1:
                return False
        if words.negation is not None and inner(value, words.negation, opposite=True):
            return False
        if words.condition is not None:
            # Where readers differ on the condition, both conclusions must hold.
            answers = {inner(value, words.condition), inner(value, words.condition, opposite=True)}
            then, otherwise = words.consequence, words.otherwise
            if True in answers and then is not None and not inner(value, then):
                return False
            if False in answers and otherwise is not None and not inner(value, otherwise):
                return False
        return True

    def _text(self, value: str, words: Keywords, generous: bool) -> bool:
        path = words.place.path
        if len(value) < words.min_length or (words.max_length is not None and len(value) > words.max_length):
            return False
        if words.pattern is not None and not self.matches(words.pattern, value, path, generous=generous):
            return False
        if words.format is not None and not generous:
            described = words.pattern is not None
            return self._texts.accepts(self._texts.format(words.format, path, described=described), value)
        return True

    def matches(self, pattern: str, text: str, path: str, *, generous: bool) -> bool:
        """Return whether a pattern matches a text, in every reading or (`generous`) in any."""
        return self._texts.accepts(self._texts.pattern(pattern, path, generous=generous), text)

    def _object(self, value: dict[str, Any], words: Keywords, inner: Callable[..., bool], generous: bool) -> bool:
        path = words.place.path
        if any(name not in value for name in words.required) or len(value) < words.min_properties:
            return False
        if words.max_properties is not None and len(value) > words.max_properties:
            return False
        if words.unevaluated_properties is not None and words.unevaluated_properties.value is not True:
            raise SchemaError(path, "unevaluatedProperties beside given values cannot be enforced; leave it out")
        for name, part in value.items():
            covered = name in (words.properties or {})
            if covered and not inner(part, (words.properties or {})[name]):
                return False
            for pattern, schema in words.patterns.items():
                if self.matches(pattern, name, path, generous=True):
                    if not inner(part, schema):
                        return False
                    covered = covered or self.matches(pattern, name, path, generous=False)
            if not covered and words.additional is not None and not inner(part, words.additional):
                return False
            if words.names is not None and not inner(name, words.names):
                return False
        if any(name in value and any(other not in value for other in others) for name, others in words.needed.items()):
            return False
        return all(name not in value or inner(value, schema) for name, schema in words.dependent.items())


def _array(value: Sequence[Any], words: Keywords, inner: Callable[..., bool]) -> bool:
    if len(value) < (words.min_items or 0) or (words.max_items is not None and len(value) > words.max_items):
        return False
    if not all(inner(part, schema) for part, schema in zip(value, words.first_items, strict=False)):
        return False
    items = words.items
    if items is not None and not all(inner(part, items) for part in value[len(words.first_items) :]):
        return False
    if words.unique and len(set(map(identity, value))) < len(value):
        return False
    if words.unevaluated_items is not None and words.unevaluated_items.value is not True:
        raise SchemaError(words.place.path, "unevaluatedItems beside given values cannot be enforced; leave it out")
    if words.contains is not None:
        if sum(inner(part, words.contains) for part in value) < words.min_contains:
            return False
        widely = sum(inner(part, words.contains, opposite=True) for part in value)
        return words.max_contains is None or widely <= words.max_contains
    return True


def _is_a(value: Any, kind: str) -> bool:
    if kind == "integer":
        return kind_of(value) == "number" and value == int(value)
    return kind_of(value) == kind
