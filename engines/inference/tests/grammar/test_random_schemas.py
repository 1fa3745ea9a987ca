"""Whatever the grammar of a schema writes is valid by an independent reader of the schema, whatever the schema is."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import jsonschema
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enginehouse.engines.inference.grammar import schema_grammar
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests.grammar.gbnf_sampler import Sampler
from engines.inference.tests.grammar.llama_grammar import LlamaGrammar

NAMES = st.sampled_from(["a", "b", "kind", "x_y", 'q"'])
PATTERNS = st.sampled_from(
    ["^a", "b$", "^[a-c]{1,3}$", "[0-9]", "^(?!a)", "^(?=.*b)[ab]+$", "^x_", "^$", "\\S", "^\\w+$", '["\\\\]', "^a|b$"]
)
FORMATS = st.sampled_from(["date", "time", "date-time", "ipv4", "ipv6", "uuid", "email", "duration", "hostname", "uri"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 12), st.sampled_from([0.5, 1.0, -2.5, "", "a", "ab", "x_y"])
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(NAMES, SCALARS, max_size=2))
BOUNDS = st.one_of(st.integers(-20, 20), st.sampled_from([0.5, -1.25, 2.75, 0.01, 1e3]))
COUNTS = st.integers(0, 4)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])


def _some(keywords: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({keyword: keywords[keyword] for keyword in chosen})
    )


def _more(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    lists = st.lists(inner, min_size=1, max_size=3)
    return _some(
        {
            "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
            "enum": st.lists(VALUES, min_size=1, max_size=4),
            "const": VALUES,
            "minimum": BOUNDS,
            "maximum": BOUNDS,
            "exclusiveMinimum": BOUNDS,
            "exclusiveMaximum": BOUNDS,
            "multipleOf": st.sampled_from([1, 2, 5, 7, 0.5, 0.1, 0.25]),
            "minLength": COUNTS,
            "maxLength": st.integers(0, 30),
            "pattern": PATTERNS,
            "format": FORMATS,
            "minItems": COUNTS,
            "maxItems": COUNTS,
            "uniqueItems": st.booleans(),
            "prefixItems": lists,
            "items": inner,
            "contains": inner,
            "minContains": st.integers(0, 2),
            "maxContains": st.integers(0, 2),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "required": st.lists(NAMES, max_size=2, unique=True),
            "minProperties": st.integers(0, 2),
            "maxProperties": COUNTS,
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=2),
            "dependentSchemas": st.dictionaries(NAMES, inner, max_size=2),
            "unevaluatedProperties": inner,
            "unevaluatedItems": inner,
            "allOf": lists,
            "anyOf": lists,
            "oneOf": lists,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$ref": st.sampled_from(["#", "#/$defs/d", "#/$defs/e"]),
        }
    )


SCHEMAS = st.recursive(st.one_of(st.booleans(), _more(st.booleans())), lambda inner: _more(inner), max_leaves=6)
DOCUMENTS = st.builds(lambda root, d, e: {**root, "$defs": {"d": d, "e": e}}, _more(SCHEMAS), SCHEMAS, SCHEMAS)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large,
                                                            HealthCheck.filter_too_much]
)  # fmt: skip
# Arrays of any items, counted.
@example({"not": {"contains": False}}, 0)
@given(DOCUMENTS, st.integers(0, 2**32))
def test_what_is_written_is_valid(schema: dict[str, Any], seed: int) -> None:
    try:
        grammar = schema_grammar(schema, field="format.json_schema")
    except ServiceError as error:
        assert error.reason is Reason.INVALID_SCHEMA
        return
    compiled = LlamaGrammar(grammar)
    # Decimal fractions, so that 0.3 is a multiple of 0.1.
    exact = json.loads(json.dumps(schema), parse_float=Decimal)
    validator = jsonschema.Draft202012Validator(exact, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    sampler = Sampler(grammar, random.Random(seed).randrange)
    for _ in range(8):
        text = sampler.text()
        assert compiled.accepts(text), text
        value = json.loads(text, parse_float=Decimal)
        try:
            assert validator.is_valid(value), text
        except RecursionError:
            # It follows an `if` that leads back to itself and concludes nothing.
            return
