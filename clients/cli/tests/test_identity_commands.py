"""Users, rotation, keys of runs and the audit log from the command line."""

from __future__ import annotations

from typing import Any

from enginehouse.api.router.v1 import admin_pb2, identity_pb2

USER = identity_pb2.User(
    user_id="user_1", tenant_id="ten_1", name="ravi@example.org", role=identity_pb2.ROLE_DEVELOPER, created_at_ms=1
)
KEY = admin_pb2.Key(key_id="key_1", tenant_id="ten_1", name="n", scopes=["inference"], previous_until_ms=9)


def test_users_are_created_listed_and_changed(cli: Any, service: Any) -> None:
    service.answers["CreateUser"] = identity_pb2.CreateUserResponse(user=USER)
    service.answers["ListUsers"] = identity_pb2.ListUsersResponse(users=[USER])
    service.answers["SetUserRole"] = identity_pb2.SetUserRoleResponse(user=USER, revoked_key_ids=["key_9"])
    service.answers["EnableUser"] = identity_pb2.EnableUserResponse(user=USER)
    shut = identity_pb2.User(user_id="user_1", name="ravi@example.org", role=USER.role, disabled_at_ms=5)
    service.answers["DisableUser"] = identity_pb2.DisableUserResponse(user=shut)
    made = cli.json("users", "create", "ravi@example.org", "--role", "developer", "--tenant", "ten_1")
    assert (made["id"], made["role"]) == ("user_1", "developer")
    assert service.requests[0].role == identity_pb2.ROLE_DEVELOPER
    assert cli.json("users", "list")["users"] == [made]
    assert "developer" in cli("users", "list").stdout
    assert cli.json("users", "role", "user_1", "--role", "viewer")["revoked_key_ids"] == ["key_9"]
    assert "key_9" in cli("users", "role", "user_1", "--role", "viewer").stdout
    assert cli.json("users", "disable", "user_1")["disabled_at_ms"] == 5
    assert "active" in cli("users", "enable", "user_1").stdout
    refused = cli("users", "create", "x", "--role", "king")
    assert refused.exit_code == 1
    assert "viewer, developer" in refused.stderr


def test_a_key_is_rotated(cli: Any, service: Any) -> None:
    service.answers["RotateKey"] = identity_pb2.RotateKeyResponse(key=KEY, secret="eh_new")
    rotated = cli.json("keys", "rotate", "key_1", "--overlap-hours", "0.5")
    assert (rotated["key"], rotated["previous_until_ms"]) == ("eh_new", 9)
    assert service.requests[0].overlap_seconds == 1800
    assert cli("keys", "rotate", "key_1").stdout.splitlines()[0] == "eh_new"
    assert not service.requests[1].HasField("overlap_seconds")


def test_a_run_key_is_created(cli: Any, service: Any) -> None:
    service.answers["CreateRunKey"] = identity_pb2.CreateRunKeyResponse(key=KEY, secret="eh_run")
    made = cli.json("keys", "run", "run-1", "--minutes", "5", "--budget-nanos", "7", "--model", "small")
    assert made["key"] == "eh_run"
    request = service.requests[0]
    assert (request.run_id, request.lifetime_seconds, request.budget_nanos) == ("run-1", 300, 7)
    assert list(request.allowed_models) == ["small"]


def test_a_key_has_a_role_a_user_and_limits_by_route(cli: Any, service: Any) -> None:
    service.answers["CreateKey"] = admin_pb2.CreateKeyResponse(key=KEY, secret="eh_secret")
    cli.json(
        "keys", "create", "--name", "n", "--role", "developer", "--user", "ravi", "--user-limit", "5",
        "--route-limit", "GenerationService/*=10,2000,3",
    )  # fmt: skip
    request = service.requests[0]
    assert (request.role, request.user_id, request.user_limits.requests_per_minute) == ("developer", "ravi", 5)
    route = request.route_limits[0]
    assert route.route == "GenerationService/*"
    assert route.limits == admin_pb2.Limits(requests_per_minute=10, tokens_per_minute=2000, concurrency=3)
    for bad in ("GenerationService/*", "A/B=x", "A/B=1,2,3,4", "A/B=-1"):
        refused = cli("keys", "create", "--name", "n", "--route-limit", bad)
        assert refused.exit_code == 1, bad
        assert "must be" in refused.stderr


def test_the_audit_log_is_listed(cli: Any, service: Any) -> None:
    entry = identity_pb2.AuditEntry(
        sequence=7,
        at_ms=1,
        actor_id="key_1",
        action="AdminService/CreateKey",
        target_id="key_2",
        outcome=identity_pb2.AUDIT_OUTCOME_DENIED,
        reason="SCOPE_DENIED",
        after_json='{"times":3}',
        seal="ab",
    )
    service.answers["ListAudit"] = identity_pb2.ListAuditResponse(entries=[entry])
    listed = cli.json("audit", "list", "--outcome", "denied", "--since", "2026-01-02")
    assert listed["entries"][0]["after"] == {"times": 3}
    assert listed["entries"][0]["before"] is None
    assert service.requests[0].outcome == identity_pb2.AUDIT_OUTCOME_DENIED
    assert service.requests[0].from_ms == 1_767_312_000_000
    assert "SCOPE_DENIED" in cli("audit", "list").stdout
    assert "--most is now called --limit" in cli("audit", "list", "--most", "3").stderr


def test_a_damaged_audit_log_fails_the_command(cli: Any, service: Any) -> None:
    service.answers["VerifyAudit"] = identity_pb2.VerifyAuditResponse(
        whole=True, entries=3, head_sequence=3, head_seal="cd"
    )
    assert cli.json("audit", "verify", "--expect", "2:ef") == {
        "whole": True,
        "entries": 3,
        "head": "3:cd",
        "problem": "",
    }
    assert (service.requests[0].expected_sequence, service.requests[0].expected_seal) == (2, "ef")
    assert "3:cd" in cli("audit", "verify").stdout
    service.answers["VerifyAudit"] = identity_pb2.VerifyAuditResponse(problem="entry 2 is not as it was written")
    done = cli("audit", "verify")
    assert done.exit_code == 1
    assert "entry 2" in done.stdout
    assert cli("audit", "verify", "--expect", "x:y").exit_code == 1
