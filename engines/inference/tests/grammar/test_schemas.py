"""The values that the grammar of a schema lets a model write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.engines.inference.grammar import schema_grammar
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests.grammar.llama_grammar import LlamaGrammar

SAFE = 2**53 - 1
OBJECT: dict[str, Any] = {"type": "object"}


def accepted(schema: Any, values: list[Any]) -> list[Any]:
    """Return the values that may be written, in the compact form and in Python's alike."""
    grammar = LlamaGrammar(schema_grammar(schema, field="format.json_schema"))
    found = []
    for value in values:
        texts = {json.dumps(value, ensure_ascii=False), json.dumps(value, ensure_ascii=False, separators=(",", ":"))}
        [answer] = {grammar.accepts(text) for text in texts}
        if answer:
            found.append(value)
    return found


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        # Bounds of numbers.
        ({"type": "integer", "minimum": -SAFE, "maximum": SAFE}, [0, -1, SAFE, -SAFE], [SAFE + 1, -SAFE - 1, 1.5]),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": SAFE}, [1, SAFE], [0, -1]),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, [2**63 - 1, -(2**63)], [2**63]),
        ({"type": "integer", "minimum": 10**20, "maximum": 10**20 + 5}, [10**20, 10**20 + 5], [10**20 - 1, 10**20 + 6]),
        ({"type": "integer", "minimum": 1.5, "maximum": 3.5}, [2, 3], [1, 4]),
        ({"type": "integer", "minimum": -5, "exclusiveMaximum": 130}, [-5, 0, 129], [-6, 130]),
        ({"type": "number", "exclusiveMinimum": 0}, [0.001, 1, 17.25], [0, -0.5, 0.0]),
        ({"type": "number", "exclusiveMaximum": 0}, [-0.001, -3], [0, 0.5, -0.0]),
        ({"type": "number", "exclusiveMinimum": 0.1, "exclusiveMaximum": 0.3}, [0.2, 0.15, 0.299], [0.1, 0.3, 0.30, 0]),
        ({"type": "number", "minimum": -1.25, "maximum": 2.5}, [-1.25, -1.2, 0, 2.5, 2.49], [-1.26, -2, 2.51, 3]),
        ({"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308}, [0, -12.5], ["1"]),
        ({"type": "number", "minimum": 0, "exclusiveMinimum": True}, [1, 0.5], [0]),
        ({"type": "integer", "multipleOf": 5}, [0, 5, -10, 12345], [1, 12]),
        ({"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 30}, [14, 21, 28], [7, 35, 15]),
        ({"type": "number", "multipleOf": 0.01}, [19.99, 0.07, 3, -2.5], [0.001, 1.999]),
        ({"type": "number", "multipleOf": 2.5, "exclusiveMinimum": 0}, [2.5, 5, 7.5], [0, 1, 2.4]),
        ({"type": "integer", "format": "int32"}, [2**31 - 1], [2**31]),
        ({"type": "integer", "not": {"const": 3}}, [2, 4, 33], [3]),
        ({"type": "number", "not": {"type": "integer"}}, [1.5], [1, 2.0]),
        # Values with siblings.
        ({"enum": ["a", 1, None], "type": "string"}, ["a"], [1, None]),
        ({"enum": ["ab", "abc", "b"], "minLength": 2, "pattern": "^a"}, ["ab", "abc"], ["b"]),
        ({"enum": [1, 5, 10], "minimum": 3, "multipleOf": 5}, [5, 10], [1]),
        ({"enum": ["2024-02-30", "2024-02-29"], "format": "date"}, ["2024-02-29"], ["2024-02-30"]),
        ({"enum": [1, 2, 3], "not": {"const": 2}}, [1, 3], [2]),
        ({"enum": [{"a": 1}, {"a": "x"}], "properties": {"a": {"type": "string"}}}, [{"a": "x"}], [{"a": 1}]),
        ({"anyOf": [{"const": 1}, {"const": "x"}], "type": "string"}, ["x"], [1]),
        # Texts.
        ({"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd", "A1"]),
        ({"type": "string", "pattern": "o"}, ["o", "xoy", "\no\u2028"], ["x", ""]),
        ({"type": "string", "pattern": "^(?!x)(?=.{2,3}$)[a-z]*$"}, ["ab", "abc"], ["xa", "a", "abcd"]),
        ({"type": "string", "pattern": "^$|^[0-9]{2}$"}, ["", "12"], ["1", "123"]),
        ({"type": "string", "pattern": "^\\d+$"}, ["12"], ["\u0661", "x"]),
        ({"type": "string", "pattern": '^["\\\\\\n]+$'}, ['"', "\\", "\n"], ["n"]),
        ({"type": "string", "format": "uri", "maxLength": 20}, ["https://a.de/x"], ["https://a.de/" + "x" * 9]),
        ({"type": "string", "format": "email", "pattern": "@example\\.com$"}, ["a@example.com"], ["a@example.org"]),
        ({"type": "string", "not": {"enum": ["a", "b"]}}, ["c", "ab", ""], ["a", "b"]),
        ({"type": "string", "not": {"pattern": "^_"}}, ["a_", ""], ["_a"]),
        # Arrays.
        ({"type": "array", "items": {"enum": ["r", "g", "b"]}, "uniqueItems": True}, [[], ["r", "b"]], [["r", "r"]]),
        ({"items": {"type": "integer"}, "contains": {"const": 1}}, [[1], [0, 1, 2]], [[], [0], ["1", 1]]),
        (
            {"items": {"type": "integer"}, "contains": {"minimum": 5}, "minContains": 2, "maxContains": 2},
            [[5, 6], [1, 7, 9]],
            [[5], [5, 6, 7]],
        ),
        ({"prefixItems": [{"type": "string"}, {"type": "null"}], "items": False}, [["a", None]], [["a", None, 2]]),
        ({"items": [{"type": "string"}], "additionalItems": {"type": "null"}}, [["a"], ["a", None]], [["a", 1]]),
        ({"type": "array", "items": False}, [[]], [[1]]),
        ({"type": "array", "minItems": 2, "maxItems": 3}, [[1, 2], [1, 2, 3]], [[1], [1, 2, 3, 4]]),
        # Objects.
        (OBJECT | {"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]}, [{"a": 1, "b": []}], [{"a": 1}]),
        (OBJECT | {"patternProperties": {"^x_": {"type": "integer"}}, "additionalProperties": False},
         [{}, {"x_a": 1, "x_b": 2}], [{"x_a": "1"}, {"y": 1}]),
        (OBJECT | {"properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "integer"}},
         [{"a": None, "b": 1}, {"ab": 1}], [{"a": 1}, {"b": None}]),
        (OBJECT | {"propertyNames": {"pattern": "^[a-z]{2}$"}, "additionalProperties": {"type": "integer"}},
         [{"ab": 1}], [{"a": 1}, {"AB": 1}]),
        (OBJECT | {"propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
         [{"a": 1}], [{"c": 1}]),
        (OBJECT | {"properties": {n: {"type": "null"} for n in "abc"}, "minProperties": 2, "maxProperties": 2},
         [{"a": None, "c": None}], [{"a": None}, {"a": None, "b": None, "c": None}]),
        (OBJECT | {"additionalProperties": {"type": "integer"}, "minProperties": 1}, [{"a": 1}], [{}]),
        (OBJECT | {"properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}},
         [{}, {"b": 1}, {"a": 1, "b": 2}], [{"a": 1}]),
        (OBJECT | {"properties": {"a": {}, "b": {}}, "dependencies": {"a": ["b"]}}, [{"a": 1, "b": 2}], [{"a": 1}]),
        (OBJECT | {"properties": {"a": {}, "b": {}},
                   "dependentSchemas": {"a": {"properties": {"b": {"type": "null"}}}}},
         [{"b": 1}, {"a": 1, "b": None}], [{"a": 1, "b": 1}]),
        (
            OBJECT | {
                "properties": {"kind": {"enum": ["a", "b"]}, "n": {}},
                "required": ["kind", "n"],
                "if": {"properties": {"kind": {"const": "a"}}},
                "then": {"properties": {"n": {"type": "integer"}}},
                "else": {"properties": {"n": {"type": "string"}}},
            },
            [{"kind": "a", "n": 1}, {"kind": "b", "n": "x"}],
            [{"kind": "a", "n": "x"}, {"kind": "b", "n": 1}],
        ),
        (OBJECT | {"properties": {"a": {}}, "not": {"required": ["a"]}}, [{}], [{"a": 1}]),
        ({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}], "unevaluatedProperties": False},
         [{"a": 1}], [{"a": 1, "b": 2}, {}]),
        # Alternatives.
        ({"oneOf": [{"type": "integer"}, {"minimum": 2, "type": "number"}]}, [1, 2.5], [3]),
        ({"oneOf": [{"type": "string", "maxLength": 3}, {"type": "string", "minLength": 2}]}, ["a", "abcd"], ["ab"]),
        (
            {"oneOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}, "required": ["b"]}]},
            [{"a": 1}, {"b": 1}],
            [{}, {"a": 1, "b": 1}],
        ),
        ({"type": ["string", "null"], "maxLength": 1}, ["a", None], ["ab", 1]),
        ({"type": "string", "nullable": True}, ["a", None], [1]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, ["a", None], [1]),
        # References.
        ({"$ref": "#n", "$defs": {"x": {"$anchor": "n", "type": "integer"}}}, [1], ["a"]),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "integer"}}}, [1], ["a"]),
        ({"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n", "minimum": 3}, [3], [2, "a"]),
        (
            {"$id": "https://a.de/root", "$ref": "sub", "$defs": {"x": {"$id": "sub", "$ref": "#/$defs/y", "$defs": {
                "y": {"type": "integer"}}}}},
            [1],
            ["a"],
        ),
        ({"$ref": "#/properties/a", "properties": {"a": {"type": "integer"}}, "type": "integer"}, [1], [{}]),
        ({"definitions": {"T": {"type": "array", "items": {"$ref": "#/definitions/T"}}}, "$ref": "#/definitions/T"},
         [[], [[], [[]]]], [[1]]),
    ],
)  # fmt: skip
def test_what_is_written_satisfies_the_schema(schema: Any, good: list[Any], bad: list[Any]) -> None:
    assert accepted(schema, [*good, *bad]) == good


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", ["2024-02-29", "2000-02-29", "0001-12-31"], ["0000-01-01", "2023-02-29", "1900-02-29", "2024-04-31"]),
        ("time", ["23:59:59Z", "08:00:00.123456+05:30"], ["24:00:00Z", "08:00:00", "08:00Z", "23:59:60Z"]),
        (
            "date-time",
            ["2024-02-29T00:00:00Z"],
            ["2024-02-30T00:00:00Z", "2024-01-01 00:00:00Z", "0000-01-01T00:00:00Z"],
        ),
        ("duration", ["P4DT12H30M5S", "PT0S", "P2W", "P1Y2M3D"], ["P", "PT", "P1YT", "P2D1Y", "4D", "P1S"]),
        ("email", ["joe.bloggs+x@mail.example.com", "a@b-c.de"], ["a", "a@", ".a@b.de", "a..b@c.de", "a@-b.de", "a b@c",
                                                                  "x" * 65 + "@b.de", "a@b." + "c" * 64 + ".de"]),
        ("hostname", ["a.example.com", "localhost", "x" * 63 + ".de"], ["-a.de", "a-.de", "a..de", "x" * 64 + ".de"]),
        ("ipv4", ["0.0.0.0", "255.255.255.255"], ["256.0.0.1", "01.0.0.1", "1.2.3", "1.2.3.4.5"]),
        ("ipv6", ["::", "::1", "1:2:3:4:5:6:7:8", "1::8", "::ffff:1.2.3.4"], ["1:2:3", ":::", "1::2::3", "12345::"]),
        ("uuid", ["12345678-1234-1234-1234-123456789abc"], ["12345678-1234-1234-1234-123456789ab", "x" * 36]),
        ("uri", ["https://a.example/x?y=z#w", "mailto:a@b.de"], ["a", "//a.example", "http://a b", "http://1.2.3.4.5/"]),
        ("base64", ["", "QUJD", "QQ=="], ["Q", "QQ=", "Q-=="]),
    ],
)  # fmt: skip
def test_texts_have_their_format(name: str, good: list[str], bad: list[str]) -> None:
    schema = {"type": "string", "format": name}
    assert accepted(schema, [*good, *bad]) == good


@pytest.mark.parametrize(
    ("schema", "place", "said"),
    [
        ({"properties": {"a": {"enum": [1, 2], "type": "string"}}}, "#/properties/a", "no value of enum"),
        ({"properties": {"a": {"const": "x", "minLength": 2}}}, "#/properties/a", "no value of enum or const"),
        ({"items": {"type": "string", "format": "zip"}}, "#/items", "format 'zip' cannot be enforced"),
        ({"type": "string", "format": "date", "maxLength": 5}, "#", "no text satisfies pattern, format and lengths"),
        ({"type": "string", "pattern": "a(?<!b)"}, "#", "lookbehind"),
        ({"type": "string", "pattern": "(a)\\1"}, "#", "not supported"),
        ({"type": "string", "pattern": "^\\p{L}+$"}, "#", "uses \\p, which readers understand differently"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "#", "list[...] in place of set[...]"),
        ({"type": "array", "items": {"enum": [*range(201)]}, "uniqueItems": True}, "#", "at most 200 values"),
        ({"items": {"minItems": 5000}}, "#/items", "minItems 5000 is over 1000, the most that can be enforced; ask"),
        ({"contains": {"const": 1}, "minContains": 100}, "#", "lower minItems or minContains"),
        ({"type": "integer", "multipleOf": 999983}, "#", "multipleOf 999983 has too many digits to be enforced; use"),
        ({"patternProperties": {f"^{c}": {} for c in "abcdefg"}, "additionalProperties": False}, "#", "join some"),
        ({"type": "string", "pattern": "(a)(?(1)b|c)"}, "#", "a conditional group, which is not supported; rewrite"),
        ({"type": "string", "pattern": "a\\b"}, "#", "word boundary, which is not supported; write"),
        ({"anyOf": []}, "#", "anyOf [] must be a list of at least one schema"),
        ({"properties": {"a": 3}}, "#", "properties {'a': 3} must be an object whose values are schemas"),
        ({"$ref": "#/$defs/x"}, "#", "points at nothing; add that schema"),
        ({"allOf": [False]}, "#", "the schema false allows nothing"),
        ({"type": "object", "minProperties": 2}, "#", "minProperties 2"),
        ({"$ref": "other.json"}, "#", "out of the schema"),
        ({"$ref": "#nowhere"}, "#", "no $anchor"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "#/properties/a", "leads back to itself"),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}},
                                              "required": ["n"]}}}, "#", "no value that ends"),
        ({"type": "number", "minimum": 0.1, "maximum": 0.05}, "#", "no number"),
        ({"type": "integer", "multipleOf": 0}, "#", "multipleOf 0 must be over 0"),
        ({"type": "string", "minLength": 2000}, "#", "minLength 2000"),
        ({"type": "string", "pattern": "^(a|b)*a(a|b){16}$"}, "#", "too complex"),
        ({"anyOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in range(9)]} for i in range(2)],
          "allOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in range(9)]} for i in range(5)]}, "#", "too many ways"),
        ({"properties": {"a": {"extends": {}}}}, "#/properties/a", "write allOf"),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_refused_by_its_place(schema: Any, place: str, said: str) -> None:
    with pytest.raises(ServiceError) as caught:
        schema_grammar(schema, field="tools[1].parameters_json_schema")
    assert caught.value.reason is Reason.INVALID_SCHEMA
    assert caught.value.message.startswith(f"tools[1].parameters_json_schema: at {place}: ")
    assert said in caught.value.message
