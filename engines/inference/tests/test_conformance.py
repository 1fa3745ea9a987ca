"""The engine as a process keeps the engine protocol, rule by rule, from outside."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import pytest
import yaml

from enginehouse.kit.conformance import RULES, ConformanceOptions, ConformanceRule, RuleResult, RuleVerdict, run
from engines.inference.tests.text_engine import catalog_entry

# A grammar keeps the model from ending its answer itself.
LETTERS = {"grammar": "root ::= [a-z]{1900}"}
REQUESTS = {
    "Generate": {
        "models": ["enginehouse-tiny"],
        "request": {"model": "auto", "prompt": "A", "maxOutputTokens": 24, "format": LETTERS},
        "long_request": {"model": "auto", "prompt": "A", "maxOutputTokens": 450, "choices": 2, "format": LETTERS},
    },
    "Embed": {"models": ["all-minilm-l6-v2"], "request": {"model": "auto", "inputs": ["A crow", "A fox"]}},
    "CreateChatCompletion": {
        "models": ["enginehouse-tiny"],
        "request": {
            "json": {"model": "auto", "messages": [{"role": "user", "content": "Tell a story"}], "max_tokens": 8}
        },
    },
}
MAX_MESSAGE_BYTES = 1 << 20


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, RuleResult]:
    """The results of the rules that this run of pytest selected."""
    directory = tmp_path_factory.mktemp("conformance")
    selected = {item.name for item in request.session.items if item.path == request.path}
    section = {
        "engine_id": "{engine_id}",
        "listen": "{listen}",
        "http_listen": "127.0.0.1:0",
        "gateway_address": "{gateway}",
        "router_address": "{router}",
        "spool_dir": "{spool}",
        "grant_keys_file": "{grant_keys}",
        "catalog_file": str(directory / "catalog.yaml"),
        "models_dir": "{directory}/models",
        "max_message_bytes": MAX_MESSAGE_BYTES,
    }
    models = [
        catalog_entry(options={"slots": 3, "threads": 1}),
        catalog_entry("all-minilm-l6-v2", options={"slots": 1, "threads": 1}),
    ]
    (directory / "catalog.yaml").write_text(yaml.safe_dump({"models": models}))
    (directory / "template.yaml").write_text(yaml.safe_dump({"inference": section}))
    (directory / "requests.json").write_text(json.dumps(REQUESTS))
    options = ConformanceOptions(
        services=("enginehouse.api.inference.v1.GenerationService", "enginehouse.api.openai.v1.TextService"),
        command=f"{sys.executable} -m enginehouse.engines.inference serve --config {{config}}",
        config=directory / "template.yaml",
        request_file=directory / "requests.json",
        max_message_bytes=MAX_MESSAGE_BYTES,
        directory=directory / "run",
        rules=tuple(rule.id for rule in RULES if f"test_the_engine_keeps[{rule.id}]" in selected),
    )
    return {result.rule.id: result for result in run(options)}


@pytest.mark.timeout(300)  # The first has to wait for all of them.
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_engine_keeps(rule: ConformanceRule, results: Mapping[str, RuleResult]) -> None:
    result = results[rule.id]
    assert result.verdict is RuleVerdict.PASSED, f"{rule.sentence} {result.verdict.value}: {result.reason}"
