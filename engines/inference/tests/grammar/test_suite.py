"""The public JSON Schema test suite (draft 2020-12): no value that it calls invalid may be written.

`JSON_SCHEMA_TEST_SUITE` names its folder. It comes with the source of jsonschema, as `json/`:
`pip download --no-deps --no-binary :all: jsonschema==4.26.0`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from enginehouse.engines.inference.grammar import schema_grammar
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests.grammar.llama_grammar import LlamaGrammar

SUITE = os.environ.get("JSON_SCHEMA_TEST_SUITE", "")
DRAFT = Path(SUITE) / "tests" / "draft2020-12"
FILES = [
    *sorted(DRAFT.glob("*.json")),
    *sorted(DRAFT.glob("optional/*.json")),
    *sorted(DRAFT.glob("optional/format/*.json")),
]

pytestmark = pytest.mark.skipif(not SUITE, reason="JSON_SCHEMA_TEST_SUITE names no folder")


@pytest.mark.parametrize("path", FILES or [DRAFT], ids=lambda path: path.stem)
def test_no_value_that_is_invalid_is_written(path: Path) -> None:
    wrong = []
    for case in json.loads(path.read_text()):
        schema: Any = case["schema"] if isinstance(case["schema"], dict) else {"allOf": [case["schema"]]}
        try:
            grammar = LlamaGrammar(schema_grammar(schema, field="format.json_schema"))
        except ServiceError as error:
            assert error.reason is Reason.INVALID_SCHEMA
            continue
        for test in case["tests"]:
            text = json.dumps(test["data"])
            if not test["valid"] and grammar.accepts(json.dumps(test["data"], ensure_ascii=False)):
                wrong.append((case["description"], test["description"], text))
    assert wrong == []
