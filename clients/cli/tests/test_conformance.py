"""`enginehouse conformance`: its options, its failures, and its report on an engine."""

from __future__ import annotations

import json
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
