"""GBNF for JSON schemas. A keyword that cannot be enforced is refused by name; annotations are skipped.

The output may be bounded more than the schema asks (fields that are not listed are not written), never less; except
that `oneOf` is read as `anyOf`.
"""

from __future__ import annotations

import json
from typing import Any

from enginehouse.engines.inference.grammar._check import check_grammar
from enginehouse.engines.inference.grammar._gbnf import (
    MAX_REPEATS,
    NEEDS,
    PRIMITIVES,
    json_literal,
    literal,
    one_of,
    repeat,
    separated,
)
from enginehouse.engines.inference.grammar._merge import MergeError, merge
from enginehouse.engines.inference.grammar._patterns import PatternError, pattern_grammar
from enginehouse.engines.inference.grammar._ranges import decimals, integers
from enginehouse.engines.inference.grammar.schemas import invalid_schema

_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_REFUSED = frozenset(
    {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties",
     "propertyNames", "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains",
     "uniqueItems", "multipleOf", "minProperties", "maxProperties", "$dynamicRef", "$recursiveRef"}
)  # fmt: skip
_SINGLE = {"boolean": "boolean", "null": "null"}
_MAX_DEPTH = 64
_MAX_RULES = 5000


class Grammar:
    """The rules of one grammar."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}

    def text(self, root: str) -> str:
        """Return the whole grammar, beginning with an expression."""
        return "\n".join([f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._rules.items())]) + "\n"

    def expression(self, schema: dict[str, Any], *, field: str) -> str:
        """Return an expression for the JSON values that satisfy a schema.

        Args:
            schema: the schema's root, which its references point into.
            field: the request's field that it came in, for errors.

        Raises:
            ServiceError: INVALID_SCHEMA, naming the keyword at fault.
        """
        return _Conversion(self, schema, field).value(schema, "#", 0)

    def rule(self, body: str) -> str:
        """Add a rule and return its name."""
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def primitive(self, name: str) -> str:
        """Add a primitive and those that it needs, and return its name."""
        if name not in self._rules:
            self._rules[name] = PRIMITIVES[name]
            for needed in NEEDS.get(name, ()):
                self.primitive(needed)
        return name

    def reserve(self) -> str:
        """Return the name of a new rule, whose body follows by `define`."""
        return self.rule("")

    def define(self, name: str, body: str) -> None:
        """Set the body of a reserved rule."""
        self._rules[name] = body

    @property
    def size(self) -> int:
        """The number of rules."""
        return len(self._rules)


def schema_grammar(schema: dict[str, Any], *, field: str) -> str:
    """Return the grammar of the JSON texts that satisfy a schema; raise INVALID_SCHEMA, naming the keyword at fault."""
    grammar = Grammar()
    text = grammar.text(grammar.expression(schema, field=field))
    # References that only lead to each other make rules that begin with themselves.
    check_grammar(text, field=field)
    return text


class _Conversion:
    """The conversion of one schema; errors name their place in it by a path such as `#/properties/age`."""

    def __init__(self, grammar: Grammar, root: dict[str, Any], field: str) -> None:
        self._grammar = grammar
        self._root = root
        self._field = field
        self._references: dict[str, str] = {}

    def _fail(self, path: str, description: str) -> Exception:
        return invalid_schema(self._field, f"at {path}: {description}")

    def value(self, schema: Any, path: str, depth: int) -> str:
        if schema is True:
            return self._grammar.primitive("value")
        if not isinstance(schema, dict):
            raise self._fail(path, f"{schema!r} is not a schema that anything satisfies; write an object")
        if depth > _MAX_DEPTH or self._grammar.size > _MAX_RULES:
            raise self._fail(path, "the schema is too deep or too large")
        for keyword in _REFUSED & schema.keys():
            if schema[keyword] is not False:
                raise self._fail(path, f"{keyword!r} cannot be enforced here; leave it out and check it yourself")
        if "$ref" in schema:
            return self._reference(schema, path, depth)
        if "allOf" in schema:
            return self.value(self._combined(schema, schema["allOf"], path, keyword="allOf"), path, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(schema, keyword, path, depth)
        return self._typed(schema, path, depth)

    def _reference(self, schema: dict[str, Any], path: str, depth: int) -> str:
        pointer = schema["$ref"]
        others = {key: value for key, value in schema.items() if key not in ("$ref", "$defs", "definitions")}
        target = self._resolve(pointer, path)
        if others and isinstance(target, dict):
            try:
                merged = merge(target, others)
            except MergeError as error:
                raise self._fail(path, str(error)) from None
            if merged != target:
                return self.value(merged, path, depth + 1)
        name = self._references.get(pointer)
        if name is None:
            name = self._references[pointer] = self._grammar.reserve()
            self._grammar.define(name, self.value(target, pointer, depth + 1))
        return name

    def _resolve(self, pointer: Any, path: str) -> Any:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise self._fail(path, f"$ref {pointer!r} must point into the schema itself, as in '#/$defs/name'")
        target: Any = self._root
        for part in pointer[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and key.isdigit() and int(key) < len(target):
                target = target[int(key)]
            elif isinstance(target, dict) and key in target:
                target = target[key]
            else:
                raise self._fail(path, f"$ref {pointer!r} points at nothing")
        return target

    def _combined(self, schema: dict[str, Any], parts: Any, path: str, *, keyword: str) -> dict[str, Any]:
        if not isinstance(parts, list) or not parts:
            raise self._fail(path, f"{keyword} must be a list of schemas")
        combined = {key: value for key, value in schema.items() if key != keyword}
        for part in parts:
            while isinstance(part, dict) and part.keys() == {"$ref"}:
                part = self._resolve(part["$ref"], path)
            if not isinstance(part, dict):
                raise self._fail(path, f"{keyword} has {part!r}, which is not a schema object")
            try:
                combined = merge(combined, part)
            except MergeError as error:
                raise self._fail(path, str(error)) from None
        return combined

    def _alternatives(self, schema: dict[str, Any], keyword: str, path: str, depth: int) -> str:
        options = schema[keyword]
        if not isinstance(options, list) or not options:
            raise self._fail(path, f"{keyword} must be a list of schemas")
        beside = {key: value for key, value in schema.items() if key not in (keyword, "$defs", "definitions")}
        alternatives = []
        for index, option in enumerate(options):
            where = f"{path}/{keyword}/{index}"
            if option is True or option is False:
                raise self._fail(where, "must be a schema object")
            combined = self._combined({**beside, keyword: None}, [option], where, keyword=keyword) if beside else option
            alternatives.append(self.value(combined, where, depth + 1))
        return one_of(alternatives)

    def _typed(self, schema: dict[str, Any], path: str, depth: int) -> str:
        types = self._types(schema, path)
        if "const" in schema or "enum" in schema:
            return self._constants(schema, types, path)
        if not types:
            return self._grammar.primitive("value")
        alternatives = []
        for kind in types:
            if kind == "object":
                alternatives.append(self._object(schema, path, depth))
            elif kind == "array":
                alternatives.append(self._array(schema, path, depth))
            elif kind == "string":
                alternatives.append(self._string(schema, path))
            elif kind in ("integer", "number"):
                alternatives.append(self._number(schema, kind, path))
            else:
                alternatives.append(self._grammar.primitive(_SINGLE[kind]))
        return one_of(alternatives)

    def _types(self, schema: dict[str, Any], path: str) -> list[str]:
        given = schema.get("type")
        if given is None:
            if "properties" in schema or "required" in schema or "additionalProperties" in schema:
                return ["object"]
            if "items" in schema or "prefixItems" in schema:
                return ["array"]
            if "pattern" in schema or "minLength" in schema or "maxLength" in schema:
                return ["string"]
            return ["number"] if "minimum" in schema or "maximum" in schema else []
        types = given if isinstance(given, list) else [given]
        for kind in types:
            if kind not in _TYPES:
                raise self._fail(path, f"unknown type {kind!r}; known: {', '.join(_TYPES)}")
        if not types:
            raise self._fail(path, "type must not be an empty list")
        return types

    def _constants(self, schema: dict[str, Any], types: list[str], path: str) -> str:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(values, list):
            raise self._fail(path, "enum must be a list")
        if "const" in schema and "enum" in schema:
            values = [value for value in values if value in schema["enum"]]
        fitting = [value for value in values if not types or any(_is_a(value, kind) for kind in types)]
        if not fitting:
            raise self._fail(path, "no value of enum or const has the type asked for")
        return one_of(json_literal(value) for value in fitting)

    def _object(self, schema: dict[str, Any], path: str, depth: int) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise self._fail(path, "properties must be an object and required a list")
        for name in required:
            if not isinstance(name, str):
                raise self._fail(path, f"required has {name!r}, which is not a name")
        # An object that lists its properties, even none, gets no others.
        extra = schema.get("additionalProperties", "properties" not in schema or bool(properties or required))
        if not properties:
            return self._free_object(extra, required, path, depth)
        properties = dict(properties)
        for name in required:
            if name not in properties and extra is False:
                raise self._fail(path, f"required names {name!r}, which additionalProperties forbids")
            properties.setdefault(name, extra)
        self._grammar.primitive("ws")
        # From the last property to the first: `after` continues an object that has members, `first` one that has none.
        after = first = ""
        for name in reversed(properties):
            inner = self.value(properties[name], f"{path}/properties/{name}", depth + 1)
            member = f"{literal(_quoted(name) + ':')} ws {inner}"
            begun = f"{member} {after}".strip()
            if name in required:
                first = begun
                after = f'"," ws {begun}'
            else:
                first = one_of([begun, first or '""'])
                after = f'("," ws {member})? {after}'.strip()
            after = self._grammar.rule(after)
            first = self._grammar.rule(first)
        return f'"{{" {first} "}}"'

    def _free_object(self, extra: Any, required: list[Any], path: str, depth: int) -> str:
        if required:
            if extra is False:
                raise self._fail(path, f"required names {required[0]!r}, which additionalProperties forbids")
            return self._object({"properties": dict.fromkeys(required, extra), "required": required}, path, depth)
        if extra is False:
            return '"{}"'
        if extra is True or extra == {}:
            return self._grammar.primitive("object")
        inner = self.value(extra, f"{path}/additionalProperties", depth + 1)
        member = self._grammar.rule(f'{self._grammar.primitive("string")} ":" {self._grammar.primitive("ws")} {inner}')
        return f'"{{" {separated(member, 0, None)} "}}"'

    def _array(self, schema: dict[str, Any], path: str, depth: int) -> str:
        least, most = self._bounds(schema, "minItems", "maxItems", path)
        self._grammar.primitive("ws")
        firsts = schema.get("prefixItems")
        items = schema.get("items", True)
        if firsts is None:
            if items is False:
                most = 0
            item = "" if most == 0 else self._grammar.rule(self.value(items, f"{path}/items", depth + 1))
            if most is not None and least > most:
                raise self._fail(path, f"minItems {least} is over maxItems {most}")
            return f'"[" {separated(item, least, most)} "]"'
        if not isinstance(firsts, list) or not firsts:
            raise self._fail(path, "prefixItems must be a list of schemas")
        # Exactly the prefix, unless the schema asks for more.
        if least > len(firsts) or (most is not None and most < len(firsts)):
            raise self._fail(path, "minItems and maxItems must allow exactly the prefixItems")
        parts = [self.value(first, f"{path}/prefixItems/{index}", depth + 1) for index, first in enumerate(firsts)]
        listed = ' "," ws '.join(parts)
        return f'"[" {listed} "]"'

    def _string(self, schema: dict[str, Any], path: str) -> str:
        pattern = schema.get("pattern")
        bounded = "minLength" in schema or "maxLength" in schema
        if pattern is not None:
            if bounded:
                raise self._fail(path, "pattern together with minLength or maxLength cannot be enforced; use one")
            if not isinstance(pattern, str):
                raise self._fail(path, "pattern must be a string")
            try:
                inside = pattern_grammar(pattern)
            except PatternError as error:
                raise self._fail(path, f"pattern {pattern[:80]!r} {error}") from None
            self._grammar.primitive("char")
            return rf'"\"" {inside} "\""'
        form = schema.get("format")
        if not bounded and form in ("date", "time", "date-time", "uuid"):
            return self._formatted(form)
        if not bounded:
            return self._grammar.primitive("string")
        least, most = self._bounds(schema, "minLength", "maxLength", path)
        if most is not None and least > most:
            raise self._fail(path, f"minLength {least} is over maxLength {most}")
        return rf'"\"" {repeat(self._grammar.primitive("char"), least, most)} "\""'

    def _formatted(self, form: str) -> str:
        parts = {"date": ("date",), "time": ("clock", "offset"), "uuid": ("uuid",)}.get(form)
        if parts is None:
            date, clock, offset = (self._grammar.primitive(name) for name in ("date", "clock", "offset"))
            return rf'"\"" {date} "T" {clock} ({offset}) "\""'
        return rf'"\"" {" ".join(self._grammar.primitive(part) for part in parts)} "\""'

    def _number(self, schema: dict[str, Any], kind: str, path: str) -> str:
        low = self._edge(schema, "minimum", "exclusiveMinimum", kind, path)
        high = self._edge(schema, "maximum", "exclusiveMaximum", kind, path)
        if low is None and high is None:
            return self._grammar.primitive(kind)
        self._grammar.primitive("digits")
        expression = (integers if kind == "integer" else decimals)(low, high)
        if expression is None:
            raise self._fail(path, f"no {kind} is from {low} to {high}")
        return expression

    def _edge(self, schema: dict[str, Any], inclusive: str, exclusive: str, kind: str, path: str) -> int | None:
        edges = []
        for keyword in (inclusive, exclusive):
            bound = schema.get(keyword)
            if bound is None:
                continue
            if isinstance(bound, bool) or not isinstance(bound, int | float) or abs(bound) > 10**15:
                raise self._fail(path, f"{keyword} {bound!r} must be a number of at most 15 digits")
            if kind == "number" and (bound != int(bound) or keyword == exclusive):
                raise self._fail(
                    path, f"{keyword} {bound!r} of a number cannot be enforced; use a whole {inclusive}, or an integer"
                )
            step = 1 if keyword == exclusive else 0
            if inclusive == "minimum":
                edges.append(-(-bound // 1) + (step if bound == int(bound) else 0))
            else:
                edges.append(bound // 1 - (step if bound == int(bound) else 0))
        if not edges:
            return None
        return int(max(edges) if inclusive == "minimum" else min(edges))

    def _bounds(self, schema: dict[str, Any], low: str, high: str, path: str) -> tuple[int, int | None]:
        least, most = schema.get(low, 0), schema.get(high)
        for keyword, bound in ((low, least), (high, most)):
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int) or bound < 0):
                raise self._fail(path, f"{keyword} {bound!r} must be a whole number of at least 0")
        if least > MAX_REPEATS:
            raise self._fail(path, f"{low} {least} is over {MAX_REPEATS}, the largest bound that can be enforced")
        return least, most


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    python: dict[str, type | tuple[type, ...]] = {
        "object": dict, "array": list, "string": str, "number": (int, float), "null": type(None)
    }  # fmt: skip
    return kind in python and isinstance(value, python[kind])
