"""Rules that lack something are skipped with the reason; results as JUnit XML; request files that are wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from enginehouse.kit.config import ConfigError
from enginehouse.kit.conformance import RULES, ConformanceOptions, RuleResult, RuleVerdict, run, write_junit
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.testing import ReservedPort
from engines.kit.tests.conformance.minimal.engine import GENERATION


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The minimal engine as a process that nobody but this test started."""
    directory = tmp_path_factory.mktemp("running")
    GrantKeys.generate(directory / "keys")
    ports = {name: ReservedPort() for name in ("listen", "router", "gateway")}
    addresses = {name: port.address for name, port in ports.items()}
    told = addresses | {"grant_keys": str(directory / "keys"), "spool": str(directory), "engine_id": "running-1"}
    environment = {f"ENGINEHOUSE_CONFORMANCE_{name.upper()}": value for name, value in told.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "engines.kit.tests.conformance.minimal"], env={**os.environ, **environment}
    )
    yield told
    process.kill()
    process.wait()
    for port in ports.values():
        port.close()


def check(target: str, **options: Any) -> dict[str, RuleResult]:
    results = run(ConformanceOptions(services=(GENERATION,), target=target, patience_s=5.0, **options))
    return {result.rule.id: result for result in results}


def test_with_a_target_alone_most_rules_are_skipped(running: dict[str, str]) -> None:
    results = check(running["listen"])
    assert results.keys() == {rule.id for rule in RULES}
    passed = {rule for rule, result in results.items() if result.verdict is RuleVerdict.PASSED}
    assert passed == {
        "discovery.health",
        "discovery.health_unknown",
        "discovery.services",
        "discovery.descriptors",
        "grant.missing",
        "error.shape",
        "error.unknown_method",
    }
    for rule, result in results.items():
        if rule not in passed:
            assert result.verdict is RuleVerdict.SKIPPED
            assert result.reason
    assert "--grant-keys" in results["grant.forged"].reason
    assert "--router-listen" in results["usage.watermark"].reason
    assert "--gateway-listen" in results["registry.load"].reason


def test_requests_are_found_by_reflection(running: dict[str, str]) -> None:
    keys = Path(running["grant_keys"])
    families = ("message.answered", "grant.replayed", "cap.cost", "usage.reported", "drain", "registry.models")
    results = check(
        running["listen"],
        grant_keys=keys,
        router_listen=running["router"],
        gateway_listen=running["gateway"],
        rules=families,
    )
    assert {rule for rule, result in results.items() if result.verdict is RuleVerdict.PASSED} == set(families) - {
        "drain"
    }
    assert "--command" in results["drain.exits"].reason


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "not JSON"),
        ("[]", "must be an object of examples by method"),
        ({"Sing": {"request": {}}}, "Sing: no such method; known: "),
        ({"Generate": {"prompt": "x"}}, "Generate: must be an object with the key 'request'"),
        ({"Generate": {"request": {}, "model": "x"}}, "unknown key 'model'"),
        ({"Generate": {"request": {"promt": "x"}}}, "not a valid enginehouse.api.inference.v1.GenerateRequest"),
        ({"Generate": {"request": [{}, {}]}}, "a list of 2 requests, but the method takes one"),
        ({"Generate": {"request": {}, "models": "m"}}, "models must be a list of names"),
    ],
)
def test_a_wrong_request_file_is_told(running: dict[str, str], tmp_path: Path, document: Any, told: str) -> None:
    path = tmp_path / "requests.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(ConfigError) as caught:
        check(running["listen"], request_file=path, rules=("grant.missing",))
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_results_are_written_as_junit(tmp_path: Path) -> None:
    results = [
        RuleResult(RULES[0], RuleVerdict.PASSED, "", 0.5),
        RuleResult(RULES[1], RuleVerdict.FAILED, 'says "no" <\x00>', 1.0),
        RuleResult(RULES[2], RuleVerdict.SKIPPED, "not given", 0.0),
    ]
    path = tmp_path / "junit.xml"
    path.write_text("old")
    write_junit(results, path, target="127.0.0.1:1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["junit.xml"]
    suite = ElementTree.parse(path).getroot()
    assert suite.attrib == {
        "name": "enginehouse conformance 127.0.0.1:1",
        "tests": "3",
        "failures": "1",
        "skipped": "1",
        "errors": "0",
        "time": "1.500",
    }
    passed, failed, skipped = suite
    assert [f"{case.get('classname')}.{case.get('name')}" for case in suite] == [rule.id for rule in RULES[:3]]
    assert list(passed) == []
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message") == 'says "no" < >'
    assert RULES[1].sentence in (failure.text or "")
    assert skipped[0].attrib == {"message": "not given"}
