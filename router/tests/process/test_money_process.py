"""Money as callers of a real router see it: prices, discounts, caps, runs, alerts and exported spend."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from enginehouse.api.common.v1 import usage_pb2 as common_pb2
from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import admin_pb2_grpc, alerts_pb2, prices_pb2, usage_pb2
from enginehouse.kit.errors import ServiceError, from_rpc_error
from enginehouse.kit.grants import peek
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.responses import error_of
from router.tests.harness.router_process import RouterFactory, RouterProcess
from router.tests.harness.waiting import wait_until
from router.tests.harness.webhook import Webhook

WRITE = common_pb2.UNIT_OUTPUT_TOKENS
SETTLED = usage_pb2.ReportResponse.STATUS_SETTLED
MAX_COST = "x-enginehouse-max-cost-nanos"


def prices(token: str) -> dict[int, int]:
    return {price.unit: price.nanos_per_million for price in peek(token).candidates[0].prices}


async def refused(call: Any) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    error = from_rpc_error(failed.value)
    assert error is not None
    return error


async def token_of(shared_router: RouterProcess, key: str, **fields: Any) -> str:
    response = await shared_router.generate(key, **fields)
    assert response.status_code == 200, response.headers.get("grpc-message")
    return str(response.headers["x-enginehouse-grant"])


@pytest.fixture
async def app(shared_router: RouterProcess) -> pb.CreateKeyResponse:
    """A key of a tenant of its own, which no other test's discounts touch."""
    tenant = await shared_router.admin(
        shared_router.key, "CreateTenant", pb.CreateTenantRequest(name=f"t-{time.time_ns()}")
    )
    request = pb.CreateKeyRequest(name="app", tenant_id=tenant.tenant.tenant_id)
    return await shared_router.admin(shared_router.key, "CreateKey", request)


async def test_a_grant_carries_the_prices_of_its_time_and_settles_by_them(
    shared_router: RouterProcess, app: pb.CreateKeyResponse
) -> None:
    engine = EngineReports(shared_router)
    before = await token_of(shared_router, app.secret)
    assert prices(before)[WRITE] == 200_000_000
    half = prices_pb2.SetDiscountRequest(
        subject=prices_pb2.DISCOUNT_SUBJECT_TENANT, subject_id=app.key.tenant_id, model="small", basis_points=5_000
    )
    await shared_router.admin(shared_router.key, "SetDiscount", half)
    after = await token_of(shared_router, app.secret)
    assert prices(after)[WRITE] == 100_000_000
    assert peek(after).candidates[0].cap_nanos < peek(before).candidates[0].cap_nanos
    # Others pay the list's price.
    assert prices(await token_of(shared_router, shared_router.key))[WRITE] == 200_000_000
    for token, cost in ((before, 2_000), (after, 1_000)):
        assert (await engine.report(token, output=10)).status == SETTLED
        found = await shared_router.admin(shared_router.key, "QuerySpend", pb.QuerySpendRequest(key_id=app.key.key_id))
        assert found.total_nanos == (2_000 if cost == 2_000 else 3_000)
    await engine.close()


async def test_a_new_price_holds_on_every_router_and_an_alert_is_raised_by_one(
    make_router: RouterFactory,
    database_uri: str,
    webhook: Webhook,
    tmp_path: Path,
) -> None:
    (tmp_path / "webhook").write_bytes(webhook.SECRET + b"\n")
    alerts = f"  alerts: {{webhook_url: '{webhook.url}', webhook_secret_file: {tmp_path}/webhook, retry_s: 0.1}}"
    first, second = make_router(extra=alerts), make_router(extra=alerts)
    await first.create_first_key()
    for router in (first, second):
        router.start()
    for router in (first, second):
        await router.ready()
    dear = prices_pb2.SetPriceRequest(model="small", unit=WRITE, nanos_per_million=999_000_000)
    await first.admin(first.key, "SetPrice", dear)

    async def paid() -> int:
        return prices(await token_of(second, first.key))[WRITE]

    await wait_until(paid, 999_000_000, within_s=60)
    listed = await second.admin(first.key, "ListPrices", prices_pb2.ListPricesRequest(model="small", holding_only=True))
    assert {price.unit: price.nanos_per_million for price in listed.prices}[WRITE] == 999_000_000

    # One of them grants, both hear reports, and the alert is one, signed, and sent until it is taken.
    webhook.refusing = 1
    budget = pb.SetBudgetRequest(scope=pb.BUDGET_SCOPE_KEY, scope_id=first.key_id, limit_nanos=1_000_000)
    await first.admin(first.key, "SetBudget", budget)
    tokens = [await token_of(first, first.key, max_output_tokens=100) for _ in range(6)]
    engines = [EngineReports(first), EngineReports(second)]
    for number, token in enumerate(tokens):
        assert (await engines[number % 2].report(token, output=100)).status == SETTLED

    async def delivered() -> list[tuple[int, int]]:
        found = await second.admin(first.key, "ListAlerts", alerts_pb2.ListAlertsRequest())
        return [(alert.percent, alert.delivery) for alert in found.alerts]

    await wait_until(delivered, [(50, alerts_pb2.ALERT_DELIVERY_DELIVERED)], within_s=60)
    assert len({headers["x-enginehouse-alert-id"] for headers, _ in webhook.received}) == 1
    assert all(webhook.signed(headers, body) for headers, body in webhook.received)
    counted = [await router.metric("enginehouse_router_budget_alerts_total") for router in (first, second)]
    assert sum(counted) == 1
    for router in (first, second):
        assert webhook.url not in router.log.read_text()
    for engine in engines:
        await engine.close()


async def test_a_request_costs_no_more_than_its_caller_and_its_key_allow(shared_router: RouterProcess) -> None:
    made = await shared_router.admin(
        shared_router.key, "CreateKey", pb.CreateKeyRequest(name="c", max_request_nanos=9_000)
    )
    plain = peek(await token_of(shared_router, shared_router.key)).candidates[0].cap_nanos
    assert plain > 20_000
    for key, header, cap in (
        (shared_router.key, "20000", 20_000),
        (shared_router.key, str(plain + 1), plain),
        (made.secret, "", 9_000),
        (made.secret, "8000", 8_000),
        (made.secret, "20000", 9_000),
    ):
        headers = {MAX_COST: header} if header else {}
        assert peek(await token_of(shared_router, key, headers=headers)).candidates[0].cap_nanos == cap, (header, cap)
    for bad in ("-1", "1.5", "many", "9223372036854775808", "9" * 40):
        error = error_of(await shared_router.generate(shared_router.key, headers={MAX_COST: bad}))
        assert (error.reason.value, error.violations[0].field) == ("INVALID_REQUEST", MAX_COST), bad
    # Where not even the input can be paid.
    error = error_of(await shared_router.generate(shared_router.key, prompt="word " * 400, headers={MAX_COST: "10"}))
    assert error.reason.value == "BUDGET_EXHAUSTED"
    assert error.metadata["scope"] == "request"
    assert int(error.metadata["needed_nanos"]) > 10


async def test_without_a_budget_a_reservation_ends_no_answer(
    shared_router: RouterProcess, app: pb.CreateKeyResponse
) -> None:
    async def cap(**fields: Any) -> int:
        return peek(await token_of(shared_router, app.secret, **fields)).candidates[0].cap_nanos

    # The whole context of 4096 tokens and 100 of answer, however few bytes the prompt has.
    assert await cap(max_output_tokens=100) == 4096 * 50 + 100 * 200
    assert await cap(max_output_tokens=100, headers={MAX_COST: "30000"}) == 30_000
    several = {"model": "small", "prompt": ["a", "b", "c"], "max_tokens": 100.0, "n": 2.0}
    answered = await shared_router.openai(app.secret, "CreateCompletion", several)
    token = str(answered.headers["x-enginehouse-grant"])
    assert peek(token).candidates[0].cap_nanos == 3 * 4096 * 50 + 6 * 100 * 200
    # A budget pays for many requests at once: a bound that is closer keeps it from refusing them.
    budget = pb.SetBudgetRequest(scope=pb.BUDGET_SCOPE_KEY, scope_id=app.key.key_id, limit_nanos=10_000_000)
    await shared_router.admin(shared_router.key, "SetBudget", budget)

    async def bounded() -> bool:
        return await cap(max_output_tokens=100) < 30_000

    await wait_until(bounded, True)


async def test_each_run_of_a_key_has_a_budget_from_its_first_request(shared_router: RouterProcess) -> None:
    request = pb.CreateKeyRequest(name="runs", run_cap_nanos=100_000)
    made = await shared_router.admin(shared_router.key, "CreateKey", request)
    assert made.key.run_cap_nanos == 100_000
    engine = EngineReports(shared_router)

    def run(number: int) -> dict[str, Any]:
        return {"headers": {"x-enginehouse-run-id": f"run-{number}"}, "max_output_tokens": 200}

    # Many first requests at once: one budget.
    tokens = await asyncio.gather(*[shared_router.generate(made.secret, **run(1)) for _ in range(4)])
    granted = [response.headers["x-enginehouse-grant"] for response in tokens if response.status_code == 200]
    assert granted
    for token in granted:
        assert (await engine.report(token, output=200)).status == SETTLED
    spent = 40_000 * len(granted)
    while spent <= 100_000:
        response = await shared_router.generate(made.secret, **run(1))
        if response.status_code != 200:
            break
        assert (await engine.report(response.headers["x-enginehouse-grant"], output=200)).status == SETTLED
        spent += 40_000
    error = error_of(await shared_router.generate(made.secret, **run(1)))
    assert error.reason.value == "BUDGET_EXHAUSTED"
    assert (error.metadata["scope"], error.metadata["period"]) == ("run", "lifetime")
    # Another run has its own, and what names no run has none.
    await token_of(shared_router, made.secret, **run(2))
    await token_of(shared_router, made.secret)
    budgets = await shared_router.admin(
        shared_router.key, "ListBudgets", pb.ListBudgetsRequest(scope_id=f"{made.key.key_id} run-1")
    )
    assert [(budget.limit_nanos, budget.settled_nanos) for budget in budgets.budgets] == [(100_000, spent)]
    # An administrator may give a run more.
    more = pb.SetBudgetRequest(scope=pb.BUDGET_SCOPE_RUN, scope_id=f"{made.key.key_id} run-1", limit_nanos=500_000)
    assert (await shared_router.admin(shared_router.key, "SetBudget", more)).budget.budget_id == budgets.budgets[
        0
    ].budget_id
    await token_of(shared_router, made.secret, **run(1))
    await engine.close()


async def test_alerts_are_raised_logged_and_listed(shared_router: RouterProcess, app: pb.CreateKeyResponse) -> None:
    budget = pb.SetBudgetRequest(
        scope=pb.BUDGET_SCOPE_KEY, scope_id=app.key.key_id, limit_nanos=100_000, alert_percents=[60, 30, 60]
    )
    made = (await shared_router.admin(shared_router.key, "SetBudget", budget)).budget
    assert list(made.alert_percents) == [30, 60]
    engine = EngineReports(shared_router)
    assert (
        await engine.report(await token_of(shared_router, app.secret, max_output_tokens=200), output=160)
    ).status == SETTLED
    request = alerts_pb2.ListAlertsRequest(budget_id=made.budget_id)

    async def listed() -> list[tuple[int, int]]:
        found = await shared_router.admin(shared_router.key, "ListAlerts", request)
        return [(alert.percent, alert.delivery) for alert in found.alerts]

    await wait_until(listed, [(30, alerts_pb2.ALERT_DELIVERY_KEPT)], within_s=60)
    assert await shared_router.metric("enginehouse_router_budget_alerts_total") >= 1
    assert "a budget has reached a percentage of its limit" in shared_router.log.read_text()
    own = await shared_router.admin(app.secret, "ListAlerts", alerts_pb2.ListAlertsRequest())
    assert [alert.budget_id for alert in own.alerts] == [made.budget_id]
    await engine.close()


async def test_spend_is_exported_as_a_file_that_adds_up(
    shared_router: RouterProcess, app: pb.CreateKeyResponse
) -> None:
    engine = EngineReports(shared_router)
    for number, user in enumerate(["anna", "=cmd()", "b,c"]):
        token = await token_of(shared_router, app.secret, headers={"x-enginehouse-user-id": user})
        assert (await engine.report(token, output=number)).status == SETTLED
    await engine.close()
    request = pb.ExportSpendRequest()
    method = "/enginehouse.api.router.v1.AdminService/ExportSpend"
    checked = await shared_router.check(method, request, app.secret)
    metadata = (("x-enginehouse-grant", checked.headers["x-enginehouse-grant"]),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shared_router.grpc}") as channel:
        parts = [
            part async for part in admin_pb2_grpc.AdminServiceStub(channel).ExportSpend(request, metadata=metadata)
        ]
    assert {part.content_type for part in parts} == {"text/csv; charset=utf-8"}
    lines = list(csv.DictReader(io.StringIO(b"".join(part.data for part in parts).decode(), newline="")))
    assert sorted(line["user_id"] for line in lines) == ["'=cmd()", "anna", "b,c"]
    total = (await shared_router.admin(app.secret, "QuerySpend", pb.QuerySpendRequest())).total_nanos
    assert sum(int(line["cost_nanos"]) for line in lines) == total == 600
    by_user = await shared_router.admin(app.secret, "QuerySpend", pb.QuerySpendRequest(group_by=pb.SPEND_GROUP_USER))
    assert [(row.group, row.usage.cost_nanos) for row in by_user.rows] == [("=cmd()", 200), ("anna", 0), ("b,c", 400)]


async def test_invalid_amounts_are_refused_by_name_and_write_nothing(
    shared_router: RouterProcess, app: pb.CreateKeyResponse
) -> None:
    key_id = app.key.key_id
    before = await shared_router.admin(shared_router.key, "ListBudgets", pb.ListBudgetsRequest(scope_id=key_id))
    price = {"model": "small", "unit": WRITE, "nanos_per_million": 1}
    budget = {"scope": pb.BUDGET_SCOPE_KEY, "scope_id": key_id, "limit_nanos": 5}
    for method, request, reason, field in (
        ("SetPrice", prices_pb2.SetPriceRequest(**{**price, "nanos_per_million": -7}), "INVALID_REQUEST", "nanos_per"),
        ("SetPrice", prices_pb2.SetPriceRequest(**{**price, "model": "smal"}), "INVALID_REQUEST", "model"),
        ("SetPrice", prices_pb2.SetPriceRequest(**{**price, "from_ms": 1}), "INVALID_REQUEST", "from_ms"),
        ("DeletePrice", prices_pb2.DeletePriceRequest(price_id="prc_x"), "NOT_FOUND", "prc_x"),
        ("DeleteDiscount", prices_pb2.DeleteDiscountRequest(discount_id="dis_x"), "NOT_FOUND", "dis_x"),
        ("SetBudget", pb.SetBudgetRequest(**{**budget, "alert_percents": [0]}), "INVALID_REQUEST", "alert_percents"),
        ("SetBudget", pb.SetBudgetRequest(**{**budget, "alert_percents": [101]}), "INVALID_REQUEST", "alert_percents"),
        ("SetBudget", pb.SetBudgetRequest(**{**budget, "limit_nanos": -5}), "INVALID_REQUEST", "limit_nanos"),
        ("CreateKey", pb.CreateKeyRequest(name="x", run_cap_nanos=-1), "INVALID_REQUEST", "run_cap_nanos"),
        ("CreateKey", pb.CreateKeyRequest(name="x", max_request_nanos=-1), "INVALID_REQUEST", "max_request_nanos"),
        ("QuerySpend", pb.QuerySpendRequest(page_size=-1), "INVALID_REQUEST", "page_size"),
    ):
        error = await refused(shared_router.admin(shared_router.key, method, request))
        assert error.reason.value == reason, method
        assert field in error.message, method
    # Prices and discounts are an administrator's.
    for method, request in (
        ("SetPrice", prices_pb2.SetPriceRequest(**price)),
        ("ListDiscounts", prices_pb2.ListDiscountsRequest()),
    ):
        assert (await refused(shared_router.admin(app.secret, method, request))).reason.value == "SCOPE_DENIED"
    assert await shared_router.admin(shared_router.key, "ListBudgets", pb.ListBudgetsRequest(scope_id=key_id)) == before
    assert prices(await token_of(shared_router, app.secret))[WRITE] == 200_000_000


async def test_reports_may_come_twice_out_of_order_and_from_nowhere(
    shared_router: RouterProcess, app: pb.CreateKeyResponse
) -> None:
    """The sum stays what was served; what can't be settled is refused and never billed."""
    engine, other = EngineReports(shared_router), EngineReports(shared_router, engine_id="engine-2")
    tokens = [await token_of(shared_router, app.secret) for _ in range(4)]
    for number in (3, 0, 2, 1, 0, 3):
        answer = await engine.report(tokens[number], output=number)
        assert answer.status in (SETTLED, usage_pb2.ReportResponse.STATUS_ALREADY_SETTLED)
    # The same report by the other engine is its own, within the cap.
    assert (await other.report(tokens[3], output=1)).status == SETTLED
    head, _, mac = tokens[0].rpartition(".")
    for forged in ("", "v1.k.x.y", f"{head}.{mac[::-1]}", head.replace(".", "..") + "." + mac):
        rejected = await engine.send(engine.record(forged, output=1))
        assert rejected.status == usage_pb2.ReportResponse.STATUS_REJECTED
        assert rejected.reason
    for record in (
        engine.record(tokens[0], output=-1),
        engine.record(tokens[0], output=1, model="large"),
        engine.record(tokens[0], output=1, outcome=99),
    ):
        assert (await engine.send(record)).status == usage_pb2.ReportResponse.STATUS_REJECTED
    found = await shared_router.admin(app.secret, "QuerySpend", pb.QuerySpendRequest())
    assert found.total_nanos == 200 * (0 + 1 + 2 + 3 + 1)
    await engine.close()
    await other.close()
