"""The audit log: its entries, their permanence, and the detection of tampering."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.api.router.v1 import admin_pb2, identity_pb2, prices_pb2
from enginehouse.router.audit import AuditEntry, AuditLog, AuditOutcome
from enginehouse.router.database import open_database
from enginehouse.router.ids import new_id
from router.tests.harness.admin_calls import Refused, call
from router.tests.harness.router_process import RouterProcess
from router.tests.harness.waiting import wait_until

SEALS = (b"s" * 32,)


async def listed(shared_router: RouterProcess, credential: str = "", **fields: Any) -> list[Any]:
    request = identity_pb2.ListAuditRequest(**fields)
    answer = await call(shared_router, credential or shared_router.key, "IdentityService/ListAudit", request)
    return list(answer.entries)


async def test_a_change_is_on_record_with_what_was_before(shared_router: RouterProcess) -> None:
    request = admin_pb2.CreateKeyRequest(name="audited", role="developer", budget_nanos=5)
    made = await call(
        shared_router, shared_router.key, "AdminService/CreateKey", request, x_enginehouse_request_id="req-of-mine"
    )
    key_id = made.key.key_id
    await call(
        shared_router, shared_router.key, "IdentityService/RotateKey", identity_pb2.RotateKeyRequest(key_id=key_id)
    )
    await call(shared_router, shared_router.key, "AdminService/RevokeKey", admin_pb2.RevokeKeyRequest(key_id=key_id))
    revoked, rotated, created = await listed(shared_router, target_id=key_id)
    assert [listed_entry.action for listed_entry in (created, rotated, revoked)] == [
        "AdminService/CreateKey",
        "IdentityService/RotateKey",
        "AdminService/RevokeKey",
    ]
    assert created.sequence < rotated.sequence < revoked.sequence
    assert (created.actor_id, created.actor_tenant_id, created.request_id) == (
        shared_router.key_id,
        shared_router.tenant,
        "req-of-mine",
    )
    assert created.tenant_id == shared_router.tenant
    assert created.before_json == ""
    after = json.loads(created.after_json)
    assert (after["name"], after["budget_nanos"]) == ("audited", 5)
    assert "revoked_at_ms" not in json.loads(revoked.before_json)
    assert json.loads(revoked.after_json)["revoked_at_ms"] > 0
    everything = "".join(
        listed_entry.before_json + listed_entry.after_json for listed_entry in (created, rotated, revoked)
    )
    assert made.secret not in everything
    assert "digest" not in everything


async def test_changes_that_know_nothing_of_the_log_are_on_it(shared_router: RouterProcess) -> None:
    price = prices_pb2.SetPriceRequest(model="small", unit=2, nanos_per_million=7, from_ms=4_000_000_000_000)
    await call(shared_router, shared_router.key, "AdminService/SetPrice", price)
    entry = (await listed(shared_router, action="AdminService/SetPrice"))[0]
    assert entry.outcome == identity_pb2.AUDIT_OUTCOME_DONE
    assert json.loads(entry.after_json)["model"] == "small"
    await call(shared_router, shared_router.key, "AdminService/ListPrices", prices_pb2.ListPricesRequest())
    assert await listed(shared_router, action="AdminService/ListPrices") == [], "reads are not"


async def test_denied_and_failed_attempts_are_on_record(shared_router: RouterProcess) -> None:
    viewer = await call(
        shared_router,
        shared_router.key,
        "AdminService/CreateKey",
        admin_pb2.CreateKeyRequest(name="viewer", role="viewer"),
    )
    target = new_id("key")
    for _ in range(3):
        with pytest.raises(Refused, match="SCOPE_DENIED"):
            await call(
                shared_router, viewer.secret, "AdminService/RevokeKey", admin_pb2.RevokeKeyRequest(key_id=target)
            )
    with pytest.raises(Refused, match="NOT_FOUND"):
        await call(
            shared_router, shared_router.key, "AdminService/RevokeKey", admin_pb2.RevokeKeyRequest(key_id=target)
        )

    async def times() -> int:
        found = await listed(shared_router, actor_id=viewer.key.key_id, outcome=identity_pb2.AUDIT_OUTCOME_DENIED)
        assert all(
            (listed_entry.action, listed_entry.target_id, listed_entry.reason)
            == ("AdminService/RevokeKey", target, "SCOPE_DENIED")
            for listed_entry in found
        )
        return sum(json.loads(listed_entry.after_json)["times"] for listed_entry in found)

    await wait_until(times, 3, within_s=60)

    async def failures() -> list[str]:
        return [
            listed_entry.reason
            for listed_entry in await listed(shared_router, target_id=target, outcome=identity_pb2.AUDIT_OUTCOME_FAILED)
        ]

    await wait_until(failures, ["NOT_FOUND"], within_s=60)


async def test_a_tenant_sees_its_own(shared_router: RouterProcess) -> None:
    tenant = await call(
        shared_router,
        shared_router.key,
        "AdminService/CreateTenant",
        admin_pb2.CreateTenantRequest(name=new_id("t")[:30]),
    )
    tenant_id = tenant.tenant.tenant_id
    admin = await call(
        shared_router,
        shared_router.key,
        "AdminService/CreateKey",
        admin_pb2.CreateKeyRequest(name="admin", tenant_id=tenant_id, role="admin"),
    )
    seen = await listed(shared_router, admin.secret)
    assert {listed_entry.action for listed_entry in seen} == {"AdminService/CreateTenant", "AdminService/CreateKey"}
    assert {listed_entry.tenant_id for listed_entry in seen} == {tenant_id}
    pages = []
    token = ""
    while True:
        request = identity_pb2.ListAuditRequest(page_size=1, page_token=token)
        answer = await call(shared_router, admin.secret, "IdentityService/ListAudit", request)
        pages += answer.entries
        token = answer.next_page_token
        if not token:
            break
    assert pages == seen


async def test_it_is_verified_over_the_door(shared_router: RouterProcess) -> None:
    verify = identity_pb2.VerifyAuditRequest()
    verdict = await call(shared_router, shared_router.key, "IdentityService/VerifyAudit", verify)
    assert verdict.whole, verdict.problem
    assert verdict.entries == verdict.head_sequence > 0
    noted = identity_pb2.VerifyAuditRequest(expected_sequence=verdict.head_sequence, expected_seal=verdict.head_seal)
    assert (await call(shared_router, shared_router.key, "IdentityService/VerifyAudit", noted)).whole
    noted.expected_sequence += 10**6
    assert not (await call(shared_router, shared_router.key, "IdentityService/VerifyAudit", noted)).whole
    noted.expected_seal = "zz"
    with pytest.raises(Refused, match="INVALID_REQUEST"):
        await call(shared_router, shared_router.key, "IdentityService/VerifyAudit", noted)


def entry(number: int, **fields: Any) -> AuditEntry:
    values: dict[str, Any] = {
        "tenant_id": "ten_1",
        "actor_tenant_id": "ten_1",
        "actor_id": "key_1",
        "actor_user": "",
        "request_id": f"req-{number}",
        "action": "AdminService/CreateKey",
        "target_id": f"key_{number}",
        "outcome": AuditOutcome.DONE,
    }
    return AuditEntry(**(values | fields))


@pytest.fixture
def log(database: AsyncEngine) -> AuditLog:
    return AuditLog(database=database, seal_keys=SEALS, clock=lambda: 1_000)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor_id = 'key_2' WHERE sequence = 2",
        "DELETE FROM audit_log WHERE sequence = 2",
        "TRUNCATE audit_log",
    ],
)
async def test_the_database_refuses_to_change_or_remove_entries(
    log: AuditLog, database: AsyncEngine, statement: str
) -> None:
    await log.append([entry(number) for number in range(3)])
    with pytest.raises(sa.exc.DBAPIError, match="neither changed nor removed"):
        async with database.begin() as connection:
            await connection.execute(sa.text(statement))
    verdict = await log.verify()
    assert (verdict.entries, verdict.problem) == (3, "")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit_log SET actor_id = 'key_2' WHERE sequence = 3", "entry 3 is not as it was written"),
        ("UPDATE audit_log SET at_ms = at_ms + 1 WHERE sequence = 5", "entry 5 is not as it was written"),
        ("UPDATE audit_log SET target_id = '', reason = target_id WHERE sequence = 2", "entry 2 is not"),
        ("DELETE FROM audit_log WHERE sequence = 2", "entries 2 to 2 are missing"),
        ("DELETE FROM audit_log WHERE sequence = 1", "entries 1 to 1 are missing"),
        ("UPDATE audit_log SET sequence = sequence + 10 WHERE sequence > 3", "entries 4 to 13 are missing"),
        ("DELETE FROM audit_log WHERE sequence > 3", "the log ends at entry 3, and entry 5 is expected"),
    ],
)
async def test_tampering_around_the_database_is_detected(
    log: AuditLog, database: AsyncEngine, statement: str, problem: str
) -> None:
    await log.append([entry(number) for number in range(5)])
    noted = await log.verify()
    async with database.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
        await connection.execute(sa.text(statement))
    verdict = await log.verify(expected_sequence=noted.head_sequence, expected_seal=noted.head_seal)
    assert problem in verdict.problem


async def test_without_the_seals_key_nothing_can_be_written(log: AuditLog, database: AsyncEngine) -> None:
    await log.append([entry(1)])
    await AuditLog(database=database, seal_keys=(b"x" * 32,), clock=lambda: 1_000).append([entry(2)])
    assert "entry 2" in (await log.verify()).problem
    rotated = AuditLog(database=database, seal_keys=(b"x" * 32, *SEALS), clock=lambda: 1_000)
    assert (await rotated.verify()).problem == "", "a pepper's successor knows the seals before"


async def test_a_change_that_fails_leaves_no_entry(log: AuditLog, database: AsyncEngine) -> None:
    with pytest.raises(RuntimeError):
        async with database.begin() as connection:
            await log.append([entry(1)], connection)
            raise RuntimeError
    assert (await log.verify()).entries == 0


async def test_concurrent_entries_are_chained_in_order(database_uri: str) -> None:
    engines = [open_database(database_uri, pool_size=4) for _ in range(3)]
    logs = [AuditLog(database=engine, seal_keys=SEALS, clock=lambda: 1_000) for engine in engines]
    await asyncio.gather(*(log.append([entry(at)]) for at in range(20) for log in logs))
    verdict = await logs[0].verify()
    assert (verdict.entries, verdict.head_sequence, verdict.problem) == (60, 60, "")
    for engine in engines:
        await engine.dispose()
