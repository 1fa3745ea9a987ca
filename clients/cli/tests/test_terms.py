"""Errors of services in the words of the command line."""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from enginehouse.cli import budgets, catalog_changes, chat, explain, keys, policies, prices, say, spend, users
from enginehouse.cli.terms import COMMANDS, explain_failure, flags_of
from enginehouse.client.errors import FieldViolation
from enginehouse.kit.contracts import Exposure, load_contracts

# Methods that no command calls, and that no error recommends.
WITHOUT_COMMAND = {"EvaluateFlags", "GetCaller", "Store", "Report", "Converse", "Embed", "Tokenize", "CountTokens"}


@pytest.mark.parametrize(
    ("command", "message", "told"),
    [
        (keys.create, "allowed_models[0]: 'x' is not in the catalog", "--model: 'x' is not in the catalog"),
        (keys.create, "limits.concurrency: 5 must be less", "--concurrency: 5 must be less"),
        (keys.create, "route_limits[1].limits.concurrency: 5 must be less", "--route-limit: 5 must be less"),
        (keys.create, "scopes: 'all' must be one of a", "--scope: 'all' must be one of a"),
        (keys.create, "no user 'x'; make it with CreateUser", "no user 'x'; make it with `enginehouse users create`"),
        (keys.revoke, "no key 'x'; list them with ListKeys", "no key 'x'; list them with `enginehouse keys list`"),
        (keys.for_run, "lifetime_seconds: 0 must be more", "--minutes: 0 must be more"),
        (users.create, "name: 'a b' must be printable", "name: 'a b' must be printable"),
        (budgets.set_, "limit_nanos: 5 is under what is settled", "--limit-nanos: 5 is under what is settled"),
        (
            spend.spend,
            "until_ms: 1767225600000 is before from_ms, 1769904000000",
            "--until: 2026-01-01 00:00:00 UTC is before --since, 2026-02-01 00:00:00 UTC",
        ),
        (prices.set_price, "nanos_per_million: 9 is too much", "nanos: 9 is too much"),
        (chat.chat, "sampling.temperature: 3 must be from 0 to 2", "--temperature: 3 must be from 0 to 2"),
        (chat.chat, "max_output_tokens: 3 is too much", "--max-tokens: 3 is too much"),
        (say.say, "controls.voice: there is no voice 'x'; list them with ListVoices", None),
        (explain.explain, "x-enginehouse-task: 'x' must be one of a", "--task: 'x' must be one of a"),
        # A file has the contract's own names.
        (policies.set_policy, "tiers[0].rules.quality: 2 is much", "tiers[0].rules.quality: 2 is much"),
        # Units and names of others are no fields.
        (chat.chat, "input_tokens is 'max_output_tokens'", "input_tokens is 'max_output_tokens'"),
        (keys.create, "AdminService/CreateKey needs 'keys'", "`enginehouse keys create` needs 'keys'"),
        (keys.create, "x: S has no method 'a'; it has: ListKeys", "x: S has no method 'a'; it has: ListKeys"),
        (chat.chat, "Explain what you want. Generate less.", "Explain what you want. Generate less."),
    ],
)  # fmt: skip
def test_fields_are_flags_and_methods_are_commands(command: Any, message: str, told: str | None) -> None:
    told = told or "--voice: there is no voice 'x'; list them with `enginehouse voices`"
    assert explain_failure(command, message) == told


def test_all_violations_are_told() -> None:
    violations = [FieldViolation("name", "'' is empty"), FieldViolation("scopes", "'x' must be one of a")]
    told = explain_failure(keys.create, "name: '' is empty (and 1 more)", violations)
    assert told == "--name: '' is empty; --scope: 'x' must be one of a"


def test_a_single_violation_is_told_at_the_length_of_the_message() -> None:
    known = ", ".join(["A name"] * 60)
    violations = [FieldViolation("route_limits[0].route", f"unknown; known: {known}"[:253] + "...")]
    told = explain_failure(keys.create, f"route_limits[0].route: unknown; known: {known}", violations)
    assert told == f"--route-limit: unknown; known: {known}"


def test_a_command_prints_flags_and_json_keeps_the_fields(cli: Any, service: Any) -> None:
    def refuse(self: Any, request: Any, context: Any) -> None:
        status = status_pb2.Status(code=3, message="limits.concurrency: 5 must be less")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", domain="enginehouse"))
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field="limits.concurrency", description="5 must be less")
        status.details.add().Pack(bad)
        context.abort_with_status(rpc_status.to_status(status))

    service.refusals["CreateKey"] = refuse
    assert cli("keys", "create", "--name", "n").stderr == "enginehouse: --concurrency: 5 must be less\n"
    told = cli("keys", "create", "--name", "n", "--json").stderr
    assert '"field": "limits.concurrency"' in told
    assert '"flag": "--concurrency"' in told


def test_every_method_that_a_caller_may_call_has_a_command() -> None:
    methods = {
        method.path.rpartition("/")[2]
        for service in load_contracts().services.values()
        if service.exposure is not Exposure.INTERNAL and ".openai." not in service.name
        for method in service.methods
    }
    assert methods - COMMANDS.keys() - WITHOUT_COMMAND == set()


def test_every_command_that_is_named_exists(cli: Any) -> None:
    for command in COMMANDS.values():
        done = cli(*command.split(), "--help")
        assert done.exit_code == 0, command


def test_the_flags_of_a_command_are_read_from_its_signature() -> None:
    flags = flags_of(keys.create)
    assert flags["requests_per_minute"] == "--requests-per-minute"
    assert flags["json_"] == "--json"
    assert flags["expires_in_days"] == "--expires-in-days"
    assert flags_of(catalog_changes.add)["context_tokens"] == "--context"
    assert flags_of(policies.rate_answer)["good"] == "--good"
    assert flags_of(chat.chat)["temperature"] == "--temperature"
    assert all(re.fullmatch(r"--[a-z-]+|[a-z_]+", flag) for flag in flags.values())
