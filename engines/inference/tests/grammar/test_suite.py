"""The public JSON Schema test suite (draft 2020-12): no value that it calls invalid may be written.

`make install` fetches the suite into the environment that the tests run in.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from enginehouse.engines.inference.grammar import schema_grammar
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests.grammar.llama_grammar import LlamaGrammar

SUITE = Path(sys.prefix) / "json-schema-suite" / "tests" / "draft2020-12"
FILES = sorted(path for folder in (".", "optional", "optional/format") for path in SUITE.glob(f"{folder}/*.json"))
# Files of which no schema is enforced: they are about other documents, several targets of one $dynamicRef, formats that
# nothing is known of, and an alternative that nothing satisfies.
REFUSED = {
    "defs",
    "refRemote",
    "optional/cross-draft",
    "optional/dynamicRef",
    "optional/unknownKeyword",
    "optional/format/ecmascript-regex",
    "optional/format/regex",
    "optional/format/unknown",
    "optional/format/uri-template",
}


def name_of(path: Path) -> str:
    """Return a file's name within the suite, without its ending."""
    return path.relative_to(SUITE).with_suffix("").as_posix()


def test_the_suite_is_there() -> None:
    assert FILES, f"no test suite in {SUITE}: run `make install`"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_value_that_is_invalid_is_written(path: Path) -> None:
    wrong, enforced = [], 0
    for case in json.loads(path.read_text(encoding="utf-8")):
        schema: Any = case["schema"] if isinstance(case["schema"], dict) else {"allOf": [case["schema"]]}
        try:
            grammar = LlamaGrammar(schema_grammar(schema, field="format.json_schema"))
        except ServiceError as error:
            assert error.reason is Reason.INVALID_SCHEMA
            assert error.message.startswith("format.json_schema: at #"), error.message
            continue
        enforced += 1
        for test in case["tests"]:
            text = json.dumps(test["data"], ensure_ascii=False)
            if not test["valid"] and grammar.accepts(text):
                wrong.append((case["description"], test["description"], text))
    assert wrong == []
    assert bool(enforced) != (name_of(path) in REFUSED)
