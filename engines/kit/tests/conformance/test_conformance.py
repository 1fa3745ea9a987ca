"""The suite itself: the minimal engine passes every rule, and each rule finds the engine that breaks it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from enginehouse.kit.conformance import (
    RULES,
    ConformanceOptions,
    ConformanceRule,
    RuleResult,
    RuleVerdict,
    check_engine,
    run,
)
from engines.kit.tests.conformance.minimal.engine import GENERATION, MAX_MESSAGE_BYTES, TEXT
from engines.kit.tests.conformance.minimal.faults import FAULTS

COMMAND = f"{sys.executable} -m engines.kit.tests.conformance.minimal"
REQUESTS = {
    "Generate": {
        "request": {"prompt": "tell me", "maxOutputTokens": 10},
        "long_request": {"prompt": "tell me", "maxOutputTokens": 150},
    },
    "CreateChatCompletion": {"request": {"json": {"messages": [{"content": "tell me"}]}}},
}
# So many wrong engines at a time: most of them make the suite wait.
AT_ONCE = 4


def options(directory: Path, **changes: Any) -> ConformanceOptions:
    requests = directory / "requests.json"
    requests.write_text(json.dumps(REQUESTS))
    values: dict[str, Any] = {
        "services": (GENERATION, TEXT),
        "command": COMMAND,
        "request_file": requests,
        "max_message_bytes": MAX_MESSAGE_BYTES,
        "directory": directory / "run",
    }
    return ConformanceOptions(**(values | changes))


def selected(request: pytest.FixtureRequest, test: str) -> list[ConformanceRule]:
    """The rules that this run of pytest selected of a test."""
    names = {item.name for item in request.session.items if item.path == request.path}
    return [rule for rule in RULES if f"{test}[{rule.id}]" in names]


@pytest.fixture(scope="module")
def right(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, RuleResult]:
    rules = tuple(rule.id for rule in selected(request, "test_the_minimal_engine_keeps"))
    results = run(options(tmp_path_factory.mktemp("right"), rules=rules))
    return {result.rule.id: result for result in results}


@pytest.fixture(scope="module")
def wrong(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, RuleResult]:
    found: dict[str, RuleResult] = {}

    async def check(rule: ConformanceRule, turns: asyncio.Semaphore) -> None:
        async with turns:
            directory = tmp_path_factory.mktemp("wrong")
            command = f"{COMMAND} --fault {rule.id}"
            (found[rule.id],) = await check_engine(
                options(directory, command=command, rules=(rule.id,), patience_s=2.0)
            )

    async def check_all() -> None:
        turns = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for rule in selected(request, "test_a_wrong_engine_is_found"):
                group.create_task(check(rule, turns))

    asyncio.run(check_all())
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_minimal_engine_keeps(rule: ConformanceRule, right: Mapping[str, RuleResult]) -> None:
    result = right[rule.id]
    assert result.verdict is RuleVerdict.PASSED, f"{rule.sentence} {result.verdict.value}: {result.reason}"


@pytest.mark.timeout(300)  # The first has to wait for all of them.
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_wrong_engine_is_found(rule: ConformanceRule, wrong: Mapping[str, RuleResult]) -> None:
    result = wrong[rule.id]
    assert result.verdict is RuleVerdict.FAILED, result.reason
    assert FAULTS[rule.id].says in result.reason


def test_each_rule_has_its_wrong_engine_and_says_what_it_is() -> None:
    assert FAULTS.keys() == {rule.id for rule in RULES}
    for rule in RULES:
        assert rule.sentence.endswith(".")
        assert rule.title
    assert len({rule.id for rule in RULES}) == len(RULES)
