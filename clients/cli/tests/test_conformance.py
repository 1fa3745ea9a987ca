"""`enginehouse conformance`: its options, its failures, and its report on an engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SERVICE = "enginehouse.api.inference.v1.GenerationService"


def test_the_rules_are_listed(cli: Any) -> None:
    rules = json.loads(cli("conformance", "--list", "--json").stdout)
    assert {"rule", "title", "sentence", "needs"} == rules[0].keys()
    assert len({rule["rule"] for rule in rules}) == len(rules) > 50
    text = cli("conformance", "--list", "--rule", "drain").stdout
    assert [line.split()[0] for line in text.splitlines()] == [
        rule["rule"] for rule in rules if rule["rule"].startswith("drain.")
    ]


def test_what_is_missing_is_named(cli: Any, tmp_path: Path) -> None:
    for arguments, told in [
        ([], "--service package.Service"),
        (["--service", SERVICE], "--target HOST:PORT"),
        (["--service", SERVICE, "--target", "nowhere"], "must be 'host:port'"),
        (["--service", SERVICE, "--target", "127.0.0.1:1", "--rule", "grants"], "families of rules: discovery"),
        (["--service", SERVICE, "--target", "127.0.0.1:1", "--junit", str(tmp_path / "no" / "file")], "does not exist"),
        (["--service", SERVICE, "--target", "127.0.0.1:1", "--start-timeout", "1"], "not ready after 1 s"),
        (["--service", SERVICE, "--command", "no-such-program"], "'no-such-program' cannot be run"),
        (["--service", SERVICE, "--command", "sh -c 'echo no model >&2; exit 3'"], "status 3"),
    ]:
        done = cli("conformance", *arguments)
        assert done.exit_code == 1, arguments
        assert told in done.stderr, (arguments, done.stderr)
        assert done.stdout == ""


def test_a_right_engine_and_a_wrong_one(cli: Any, tmp_path: Path) -> None:
    engine = f"{sys.executable} -m engines.kit.tests.conformance.minimal"
    rules = ["--rule", "grant.missing", "--rule", "cap.exact"]
    done = cli("conformance", "--service", SERVICE, "--command", engine, *rules, "--junit", str(tmp_path / "right.xml"))
    assert done.exit_code == 0, done.stdout + done.stderr
    first, second, summary = done.stdout.splitlines()
    assert first.split() == ["ok", "grant.missing", "No", "grant"]
    assert second.split()[:2] == ["ok", "cap.exact"]
    assert summary.startswith("2 passed, 0 failed, 0 skipped")
    assert 'tests="2"' in (tmp_path / "right.xml").read_text()

    wrong = f"{engine} --fault grant.missing"
    done = cli("conformance", "--service", SERVICE, "--command", wrong, *rules, "--junit", str(tmp_path / "wrong.xml"))
    assert done.exit_code == 1
    assert done.stdout.startswith("FAIL  grant.missing")
    assert 'failures="1"' in (tmp_path / "wrong.xml").read_text()
    done = cli("conformance", "--service", SERVICE, "--command", wrong, "--rule", "grant.missing", "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert (document["passed"], document["results"][0]["verdict"]) == (False, "failed")
