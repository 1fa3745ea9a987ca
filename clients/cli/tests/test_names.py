"""Names and beginnings of ids in place of ids."""

from __future__ import annotations

from typing import Any

from google.api import httpbody_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from enginehouse.api.router.v1 import admin_pb2, identity_pb2

LAPTOP = admin_pb2.Key(key_id="key_11aa" + "0" * 28, tenant_id="ten_1", name="laptop", hint="eh_abcdef")
SERVER = admin_pb2.Key(key_id="key_22bb" + "0" * 28, tenant_id="ten_1", name="server", hint="eh_ghijkl")
TWIN = admin_pb2.Key(key_id="key_33cc" + "0" * 28, tenant_id="ten_1", name="server", revoked_at_ms=5)
SPEND = {"units": [{"unit": 2, "amount": 30}], "cost_nanos": 7}


def listed(service: Any, *keys: admin_pb2.Key) -> None:
    service.answers["ListKeys"] = admin_pb2.ListKeysResponse(keys=keys)


def spent(service: Any, key: admin_pb2.Key) -> None:
    def answer(request: Any) -> Any:
        if request.key_id in ("", key.key_id):
            return admin_pb2.QuerySpendResponse(rows=[{"requests": 3, "usage": SPEND}], total_nanos=7)
        return admin_pb2.QuerySpendResponse()

    service.answers["QuerySpend"] = answer


def refuse_unknown(self: Any, request: Any, context: Any) -> None:
    if request.key_id in (LAPTOP.key_id, SERVER.key_id):
        return
    status = status_pb2.Status(code=5, message=f"no key {request.key_id!r}; list them with ListKeys")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="enginehouse"))
    context.abort_with_status(rpc_status.to_status(status))


def test_spend_takes_a_keys_name_its_id_the_beginning_of_it_and_its_hint(cli: Any, service: Any) -> None:
    listed(service, LAPTOP, SERVER)
    spent(service, LAPTOP)
    for given in ("laptop", LAPTOP.key_id, "key_11a", "11aa0", "eh_abcdef"):
        assert cli.json("spend", "--key", given)["total_nanos"] == 7, given


def test_spend_of_no_known_key_says_so(cli: Any, service: Any) -> None:
    listed(service, LAPTOP, SERVER)
    spent(service, LAPTOP)
    done = cli("spend", "--key", "lapptop")
    assert done.exit_code == 1
    assert "no key 'lapptop'; did you mean 'laptop'?; `enginehouse keys list` lists them" in done.stderr
    assert cli("spend", "--key", "key_" + "9" * 32).exit_code == 1
    # A known key that has spent nothing is no fault.
    assert "nothing spent" in cli("spend", "--key", "server").stdout


def test_names_of_several_keys_are_listed(cli: Any, service: Any) -> None:
    listed(service, LAPTOP, SERVER, TWIN)
    spent(service, LAPTOP)
    done = cli("spend", "--key", "server")
    assert done.exit_code == 1
    for shown in (SERVER.key_id, TWIN.key_id, "revoked", "give one's id"):
        assert shown in done.stderr


def test_unknown_users_runs_models_and_services_are_told(cli: Any, service: Any) -> None:
    service.answers["QuerySpend"] = lambda request: (
        admin_pb2.QuerySpendResponse(rows=[{"group": "anna", "requests": 1}])
        if request.group_by
        else admin_pb2.QuerySpendResponse()
    )
    service.answers["ListModels"] = admin_pb2.ListModelsResponse(models=[{"name": "tiny", "cluster": "inference"}])
    service.answers["ListUsers"] = identity_pb2.ListUsersResponse(users=[{"user_id": "user_1", "name": "ravi"}])
    service.answers["ListTenants"] = admin_pb2.ListTenantsResponse(tenants=[{"tenant_id": "ten_1", "name": "acme"}])
    listed(service, LAPTOP)
    for flag, good, bad in (
        ("--user", "anna", "ana"),
        ("--user", "ravi", "ravy"),
        ("--run", "anna", "run-1"),
        ("--model", "tiny", "tinny"),
        ("--service", "inference", "text"),
        ("--tenant", "acme", "acne"),
    ):
        assert cli("spend", flag, good).exit_code == 0, (flag, good)
        done = cli("spend", flag, bad)
        assert done.exit_code == 1, (flag, bad)
        assert f"{bad!r}" in done.stderr
    cli("spend", "--user", "user_1")
    assert service.requests[-1].user_id == "ravi"


def test_export_resolves_names_before_it_writes(cli: Any, service: Any, tmp_path: Any) -> None:
    listed(service, LAPTOP)
    service.answers["ExportSpend"] = lambda request: [
        httpbody_pb2.HttpBody(data=part)
        for part in (b"a,b\r\n", *([b"1,2\r\n"] if request.key_id == LAPTOP.key_id else []))
    ]
    file = tmp_path / "spend.csv"
    assert cli("spend", "export", "--csv", str(file), "--key", "laptop").exit_code == 0
    assert file.read_bytes() == b"a,b\r\n1,2\r\n"
    file.unlink()
    assert cli("spend", "export", "--csv", str(file), "--key", "nobody").exit_code == 1
    assert not file.exists()


def test_keys_are_revoked_by_name(cli: Any, service: Any) -> None:
    listed(service, LAPTOP, SERVER)
    service.refusals["RevokeKey"] = refuse_unknown
    service.answers["RevokeKey"] = admin_pb2.RevokeKeyResponse(key=LAPTOP)
    for given in ("laptop", "key_11a", LAPTOP.key_id):
        assert cli.json("keys", "revoke", given)["id"] == LAPTOP.key_id
    done = cli("keys", "revoke", "nobody")
    assert done.exit_code == 1
    assert "no key 'nobody'" in done.stderr
    error = cli("keys", "revoke", "nobody", "--json")
    assert '"code": "NOT_FOUND"' in error.stderr


def test_users_and_budgets_are_found_by_name(cli: Any, service: Any) -> None:
    user = identity_pb2.User(user_id="user_1", name="ravi", role=identity_pb2.ROLE_VIEWER)
    service.answers["ListUsers"] = identity_pb2.ListUsersResponse(users=[user])
    service.answers["DisableUser"] = lambda request: (
        identity_pb2.DisableUserResponse(user=user) if request.user_id == "user_1" else None
    )
    assert cli.json("users", "disable", "ravi")["id"] == "user_1"
    assert "no user 'ravy'; did you mean 'ravi'?" in cli("users", "disable", "ravy").stderr
    listed(service, LAPTOP)
    service.answers["ListBudgets"] = admin_pb2.ListBudgetsResponse(
        budgets=[{"budget_id": "bud_1", "scope": admin_pb2.BUDGET_SCOPE_KEY, "scope_id": LAPTOP.key_id}]
    )
    service.answers["DeleteBudget"] = admin_pb2.DeleteBudgetResponse()
    assert cli.json("budgets", "delete", "laptop")["id"] == "bud_1"
    service.answers["SetBudget"] = lambda request: admin_pb2.SetBudgetResponse(
        budget={"budget_id": "bud_2", "scope": request.scope, "scope_id": request.scope_id}
    )
    made = cli.json("budgets", "set", "--key", "laptop", "--limit-nanos", "5")
    assert made["scope_id"] == LAPTOP.key_id


def test_lists_of_an_unknown_owner_are_no_empty_lists(cli: Any, service: Any) -> None:
    listed(service, LAPTOP)
    service.answers["ListBudgets"] = admin_pb2.ListBudgetsResponse()
    service.answers["ListUsers"] = identity_pb2.ListUsersResponse()
    service.answers["ListTenants"] = admin_pb2.ListTenantsResponse()
    assert cli("budgets", "list").stdout == "no budgets\n"
    assert cli("budgets", "list", "--of", "laptop").stdout == "no budgets\n"
    done = cli("budgets", "list", "--of", "lapdog")
    assert done.exit_code == 1
    assert "'lapdog'" in done.stderr
