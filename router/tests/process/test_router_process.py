"""A router as a process: what Envoy, engines and administrators see of it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import grpc
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.openai.v1 import models_pb2, models_pb2_grpc
from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.errors import from_rpc_error
from enginehouse.kit.grants import verify
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.registry import RegistryServer
from router.tests.harness.responses import reason_of
from router.tests.harness.router_process import RouterProcess
from router.tests.harness.waiting import wait_until

GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
SETTLED = usage_pb2.ReportResponse.STATUS_SETTLED
# small: 200 nano-dollars an output token.
TOKEN = 200


async def test_a_request_from_its_check_to_its_spend(shared_router: RouterProcess, registry: RegistryServer) -> None:
    made = await shared_router.admin(
        shared_router.key, "CreateKey", pb.CreateKeyRequest(name="app", budget_nanos=10_000_000)
    )
    key, key_id = made.secret, made.key.key_id
    assert made.key.hint == key[:9]
    assert list(made.key.scopes) == ["inference", "spend"]

    # Named and automatic, typed and OpenAI's.
    response = await shared_router.generate(
        key, max_output_tokens=10, headers={"x_enginehouse_request_id": "my-request"}
    )
    assert response.status_code == 200
    assert response.headers["x-enginehouse-request-id"] == "my-request"
    assert response.headers["x-enginehouse-model"] == "small"
    assert response.headers["x-gateway-destination-endpoint"] == "127.0.0.1:5001"
    token = response.headers["x-enginehouse-grant"]
    now_ms = int(time.time() * 1000)
    grant = verify(token, keys=shared_router.grant_keys, method=GENERATE, now_ms=now_ms)
    assert (grant.request_id, grant.attempt) == ("my-request", 1)
    assert grant.principal.key_id == key_id
    (candidate,) = grant.candidates
    assert 10 * TOKEN < candidate.cap_nanos < 20_000
    assert len(grant.funding) == 1
    engine = EngineReports(shared_router)
    answer = await engine.report(token, output=7)
    assert answer.status == SETTLED
    assert (await engine.report(token, output=7)).status == usage_pb2.ReportResponse.STATUS_ALREADY_SETTLED

    chat = await shared_router.openai(key, "CreateChatCompletion", {
        "model": "auto", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "user": "alice",
    })  # fmt: skip
    assert chat.headers["x-enginehouse-model"] == "small"
    assert (await engine.report(chat.headers["x-enginehouse-grant"], output=5)).status == SETTLED
    vectors = await shared_router.openai(key, "CreateEmbedding", {"model": "vectors", "input": ["a", "b"]})
    assert vectors.headers["x-enginehouse-model"] == "vectors"

    # Spend, exact, in every grouping, and only one's own with the scope "spend".
    total = 12 * TOKEN
    spent = await shared_router.admin(
        key, "QuerySpend", pb.QuerySpendRequest(key_id=key_id, group_by=pb.SPEND_GROUP_KEY)
    )
    assert spent.total_nanos == total
    assert [(row.group, row.requests, row.usage.cost_nanos) for row in spent.rows] == [(key_id, 2, total)]
    assert [(unit.unit, unit.amount) for unit in spent.rows[0].usage.units] == [(2, 12)]
    mine = {"key_id": key_id}
    for group, name in (
        (pb.SPEND_GROUP_UNSPECIFIED, ""),
        (pb.SPEND_GROUP_TENANT, shared_router.tenant),
        (pb.SPEND_GROUP_MODEL, "small"),
        (pb.SPEND_GROUP_SERVICE, "inference"),
        (pb.SPEND_GROUP_DAY, time.strftime("%Y-%m-%d", time.gmtime())),
    ):
        spent = await shared_router.admin(key, "QuerySpend", pb.QuerySpendRequest(group_by=group, **mine))
        assert [(row.group, row.usage.cost_nanos) for row in spent.rows] == [(name, total)]
    assert (await shared_router.admin(key, "QuerySpend", pb.QuerySpendRequest(model="large", **mine))).total_nanos == 0
    budgets = await shared_router.admin(key, "ListBudgets", pb.ListBudgetsRequest(scope_id=key_id))
    assert [(budget.limit_nanos, budget.settled_nanos) for budget in budgets.budgets] == [(10_000_000, total)]
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await shared_router.admin(key, "QuerySpend", pb.QuerySpendRequest(tenant_id="ten_other"))
    assert from_rpc_error(denied.value).reason.value == "SCOPE_DENIED"
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await shared_router.admin(key, "CreateTenant", pb.CreateTenantRequest(name="mine"))
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED

    # The secret is nowhere but with its owner.
    assert key not in shared_router.log.read_text()
    assert shared_router.key not in shared_router.log.read_text()
    await engine.close()


async def test_refusals_are_typed_for_every_kind_of_caller(
    shared_router: RouterProcess, registry: RegistryServer
) -> None:
    refused = await shared_router.generate("")
    assert (refused.status_code, reason_of(refused)) == (401, "KEY_MISSING")
    refused = await shared_router.generate("eh_" + "A" * 43)
    assert (refused.status_code, reason_of(refused)) == (401, "KEY_INVALID")
    refused = await shared_router.generate(shared_router.key, model="smal")
    assert (refused.status_code, reason_of(refused)) == (404, "UNKNOWN_MODEL")
    assert "small" in refused.headers["grpc-message"]
    refused = await shared_router.generate(shared_router.key, model="asleep")
    assert reason_of(refused) == "NO_ENDPOINT"
    assert refused.status_code < 500, "Envoy takes a 5xx for our own failure"
    assert int(refused.headers["retry-after"]) >= 1
    refused = await shared_router.generate(shared_router.key, model="vectors")
    assert reason_of(refused) == "UNSUPPORTED_CAPABILITY"
    refused = await shared_router.check(GENERATE, b"\0\0\0\0\x02\xff\xff", shared_router.key)
    assert reason_of(refused) == "INVALID_REQUEST"
    refused = await shared_router.check(GENERATE, b"", shared_router.key)
    assert reason_of(refused) == "INVALID_REQUEST"
    refused = await shared_router.generate(shared_router.key, headers={"x_enginehouse_request_id": "no spaces"})
    assert reason_of(refused) == "INVALID_REQUEST"
    refused = await shared_router.check("/enginehouse.api.voice.v1.VoiceService/ListVoices", b"", shared_router.key)
    assert reason_of(refused) == "NO_ENDPOINT"
    refused = await shared_router.check("/no.such.Service/Method", b"", shared_router.key)
    assert reason_of(refused) == "UNKNOWN_METHOD"
    refused = await shared_router.openai(shared_router.key, "CreateChatCompletion", b"{not json")
    status, body = refused.headers["x-enginehouse-openai-error"].split(";")
    assert status == "400"
    assert json.loads(base64.urlsafe_b64decode(body))["error"]["type"] == "invalid_request_error"
    assert refused.json()["error"]["type"] == "invalid_request_error"
    plain = await shared_router.client.post(f"http://127.0.0.1:{shared_router.http}{GENERATE}", json={"model": "small"})
    assert plain.status_code == 401
    assert plain.json()["details"][0]["reason"] == "KEY_MISSING"
    health = await shared_router.check("/grpc.health.v1.Health/Check", b"\0\0\0\0\0")
    assert health.status_code == 200
    assert "x-enginehouse-grant" not in health.headers


async def test_a_key_stops_working_within_a_second_of_its_revocation_on_every_router(
    shared_pair: tuple[RouterProcess, RouterProcess],
) -> None:
    first, other = shared_pair
    made = await first.admin(first.key, "CreateKey", pb.CreateKeyRequest(name="short-lived"))

    # Made on one, usable on the other as soon as the news is there.
    async def status() -> int:
        return int((await other.generate(made.secret)).status_code)

    await wait_until(status, 200, within_s=1)
    await first.admin(first.key, "RevokeKey", pb.RevokeKeyRequest(key_id=made.key.key_id))
    assert (await first.generate(made.secret)).status_code == 401
    await wait_until(status, 401, within_s=1)


async def test_limits_refuse_with_the_headers_that_clients_read(shared_router: RouterProcess) -> None:
    made = await shared_router.admin(
        shared_router.key,
        "CreateKey",
        pb.CreateKeyRequest(name="limited", limits=pb.Limits(requests_per_minute=3, concurrency=2)),
    )
    first = await shared_router.generate(made.secret)
    assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("3", "2")
    second = await shared_router.generate(made.secret)
    refused = await shared_router.generate(made.secret)
    assert (refused.status_code, reason_of(refused)) == (429, "CONCURRENCY_LIMITED")
    engine = EngineReports(shared_router)
    await engine.report(second.headers["x-enginehouse-grant"], output=1)
    assert (await shared_router.generate(made.secret)).status_code == 200, "a settled request frees its slot"
    await engine.report(first.headers["x-enginehouse-grant"], output=1)
    refused = await shared_router.generate(made.secret)
    assert reason_of(refused) == "RATE_LIMITED"
    assert refused.headers["grpc-status"] == "8"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["ratelimit-remaining"] == "0"
    tokens = await shared_router.admin(
        shared_router.key, "CreateKey", pb.CreateKeyRequest(name="few", limits=pb.Limits(tokens_per_minute=100))
    )
    refused = await shared_router.generate(tokens.secret, max_output_tokens=500)
    assert reason_of(refused) == "TOKENS_LIMITED"
    await engine.close()


async def test_a_budget_refuses_by_name_and_forged_reports_are_dropped(shared_router: RouterProcess) -> None:
    made = await shared_router.admin(
        shared_router.key, "CreateKey", pb.CreateKeyRequest(name="poor", budget_nanos=30_000)
    )
    refused = await shared_router.generate(made.secret, max_output_tokens=1_000)
    assert (refused.status_code, reason_of(refused)) == (429, "BUDGET_EXHAUSTED")
    assert made.key.key_id in refused.headers["grpc-message"]
    granted = await shared_router.generate(made.secret, max_output_tokens=100)
    token = granted.headers["x-enginehouse-grant"]
    engine = EngineReports(shared_router)
    rejected = usage_pb2.ReportResponse.STATUS_REJECTED
    assert (await engine.report(token[:-2] + "AA", output=1)).status == rejected
    assert (await engine.report("", output=1)).status == rejected
    assert (await engine.report(token, output=-1)).status == rejected
    assert (await engine.report(token, output=1, model="large")).status == rejected
    assert (await engine.report(token, output=2**62)).status == SETTLED
    spent = await shared_router.admin(made.secret, "QuerySpend", pb.QuerySpendRequest(key_id=made.key.key_id))
    grant = verify(token, keys=shared_router.grant_keys, method=GENERATE, now_ms=int(time.time() * 1000))
    assert spent.total_nanos == grant.candidates[0].cap_nanos <= 30_000
    assert await shared_router.metric("enginehouse_router_unbilled_nanos_total") > 0

    # A limit can't go under what is spent, and says both numbers.
    with pytest.raises(grpc.aio.AioRpcError) as low:
        await shared_router.admin(
            shared_router.key,
            "SetBudget",
            pb.SetBudgetRequest(scope=pb.BUDGET_SCOPE_KEY, scope_id=made.key.key_id, limit_nanos=1),
        )
    assert low.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert str(spent.total_nanos) in low.value.details()
    # What lies idle comes back for it.
    budget = await shared_router.admin(
        shared_router.key,
        "SetBudget",
        pb.SetBudgetRequest(scope=pb.BUDGET_SCOPE_KEY, scope_id=made.key.key_id, limit_nanos=spent.total_nanos),
    )
    assert budget.budget.limit_nanos == budget.budget.settled_nanos == spent.total_nanos
    refused = await shared_router.generate(made.secret, max_output_tokens=1)
    assert reason_of(refused) == "BUDGET_EXHAUSTED"
    await shared_router.admin(
        shared_router.key, "DeleteBudget", pb.DeleteBudgetRequest(budget_id=budget.budget.budget_id)
    )
    assert (await shared_router.generate(made.secret)).status_code == 200
    await engine.close()


async def test_users_and_runs_have_budgets_of_their_own(shared_router: RouterProcess) -> None:
    for scope, scope_id in ((pb.BUDGET_SCOPE_USER, "alice"), (pb.BUDGET_SCOPE_RUN, f"{shared_router.tenant}/run-7")):
        await shared_router.admin(
            shared_router.key,
            "SetBudget",
            pb.SetBudgetRequest(scope=scope, scope_id=scope_id, window=pb.BUDGET_WINDOW_DAY, limit_nanos=0),
        )
    body = {"model": "small", "messages": [{"role": "user", "content": "x"}]}
    assert (
        await shared_router.openai(shared_router.key, "CreateChatCompletion", {**body, "user": "bob"})
    ).status_code == 200
    refused = await shared_router.openai(shared_router.key, "CreateChatCompletion", {**body, "user": "alice"})
    assert reason_of(refused) == "BUDGET_EXHAUSTED"
    status, encoded = refused.headers["x-enginehouse-openai-error"].split(";")
    assert status == "429"
    assert json.loads(base64.urlsafe_b64decode(encoded))["error"]["code"] == "insufficient_quota"
    refused = await shared_router.generate(shared_router.key, headers={"x_enginehouse_run_id": "run-7"})
    assert "run" in refused.headers["grpc-message"]
    assert (
        await shared_router.generate(shared_router.key, headers={"x_enginehouse_run_id": "run-8"})
    ).status_code == 200


async def test_administration_lists_pages_explains_and_refuses_nonsense(shared_router: RouterProcess) -> None:
    for number in range(5):
        await shared_router.admin(
            shared_router.key, "CreateTenant", pb.CreateTenantRequest(name=f"tenant {number}", tier="pro")
        )
    seen: list[str] = []
    token = ""
    while True:
        page = await shared_router.admin(
            shared_router.key, "ListTenants", pb.ListTenantsRequest(page_size=2, page_token=token)
        )
        seen += [tenant.name for tenant in page.tenants]
        token = page.next_page_token
        if not token:
            break
        some_token = token
    assert [name for name in seen if name == "default" or name.startswith("tenant ")] == [
        "default",
        *(f"tenant {number}" for number in range(5)),
    ]
    for method, request, code in (
        ("ListKeys", pb.ListKeysRequest(page_token=some_token), grpc.StatusCode.INVALID_ARGUMENT),
        ("ListTenants", pb.ListTenantsRequest(page_token="!"), grpc.StatusCode.INVALID_ARGUMENT),
        ("ListTenants", pb.ListTenantsRequest(page_size=1001), grpc.StatusCode.INVALID_ARGUMENT),
        ("CreateTenant", pb.CreateTenantRequest(name="tenant 1"), grpc.StatusCode.ALREADY_EXISTS),
        ("CreateTenant", pb.CreateTenantRequest(name="x", tier="gold"), grpc.StatusCode.INVALID_ARGUMENT),
        ("CreateTenant", pb.CreateTenantRequest(name=""), grpc.StatusCode.INVALID_ARGUMENT),
        ("CreateKey", pb.CreateKeyRequest(name="x", scopes=["root"]), grpc.StatusCode.INVALID_ARGUMENT),
        ("CreateKey", pb.CreateKeyRequest(name="x", budget_nanos=-1), grpc.StatusCode.INVALID_ARGUMENT),
        ("CreateKey", pb.CreateKeyRequest(name="x", expires_at_ms=5), grpc.StatusCode.INVALID_ARGUMENT),
        ("CreateKey", pb.CreateKeyRequest(name="x", allowed_models=["smal"]), grpc.StatusCode.INVALID_ARGUMENT),
        ("CreateKey", pb.CreateKeyRequest(name="x", tenant_id="ten_no"), grpc.StatusCode.NOT_FOUND),
        ("RevokeKey", pb.RevokeKeyRequest(key_id="key_no"), grpc.StatusCode.NOT_FOUND),
        ("RevokeKey", pb.RevokeKeyRequest(key_id="a\0b"), grpc.StatusCode.INVALID_ARGUMENT),
        ("SetBudget", pb.SetBudgetRequest(scope_id="x", limit_nanos=1), grpc.StatusCode.INVALID_ARGUMENT),
        (
            "SetBudget",
            pb.SetBudgetRequest(scope=pb.BUDGET_SCOPE_TENANT, scope_id="no", limit_nanos=1),
            grpc.StatusCode.NOT_FOUND,
        ),
        ("DeleteBudget", pb.DeleteBudgetRequest(budget_id="no"), grpc.StatusCode.NOT_FOUND),
        ("QuerySpend", pb.QuerySpendRequest(from_ms=5, until_ms=4), grpc.StatusCode.INVALID_ARGUMENT),
        ("Explain", pb.ExplainRequest(key_id="no"), grpc.StatusCode.NOT_FOUND),
    ):  # fmt: skip
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await shared_router.admin(shared_router.key, method, request)
        assert (method, error.value.code()) == (method, code), error.value.details()
        assert from_rpc_error(error.value) is not None

    easy = await shared_router.admin(shared_router.key, "Explain", pb.ExplainRequest(prompt="hello"))
    assert easy.admitted
    by_name = {candidate.model: candidate for candidate in easy.candidates}
    assert set(by_name) == {"small", "large", "vectors", "asleep"}
    assert "embed" not in by_name["small"].passed_over_because
    assert "cannot do chat" in by_name["vectors"].passed_over_because
    assert "no live engine" in by_name["asleep"].passed_over_because
    hard = await shared_router.admin(
        shared_router.key,
        "Explain",
        pb.ExplainRequest(prompt="Prove why the integral equals π; derive each step and explain the reasoning. " * 8),
    )
    assert hard.complexity > easy.complexity
    assert hard.quality_needed > easy.quality_needed
    assert [candidate.model for candidate in hard.candidates if candidate.chosen] == ["large"]
    models = await shared_router.admin(shared_router.key, "ListModels", pb.ListModelsRequest(page_size=2))
    assert [model.name for model in models.models] == ["asleep", "large"]
    assert models.models[1].endpoints == ["127.0.0.1:5001"]
    rest = await shared_router.admin(
        shared_router.key, "ListModels", pb.ListModelsRequest(page_token=models.next_page_token)
    )
    assert [model.name for model in rest.models] == ["small", "vectors"]
    assert {entry.alias: entry.model for entry in models.aliases} == {
        "author": "large",
        "gpt-4o-mini": "auto",
        "sleeper": "asleep",
    }
    assert not rest.aliases


async def test_openais_list_of_models_is_what_the_key_may_use_and_somebody_serves(shared_router: RouterProcess) -> None:
    made = await shared_router.admin(
        shared_router.key, "CreateKey", pb.CreateKeyRequest(name="one", allowed_models=["large"])
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shared_router.grpc}") as channel:
        stub: Any = models_pb2_grpc.ModelsServiceStub(channel)

        async def call(key: str, method: str, request: Any) -> Any:
            checked = await shared_router.check(f"/enginehouse.api.openai.v1.ModelsService/{method}", request, key)
            metadata = (("x-enginehouse-grant", checked.headers["x-enginehouse-grant"]),)
            return json.loads((await getattr(stub, method)(request, metadata=metadata)).data)

        listed = await call(shared_router.key, "ListModels", models_pb2.ListModelsRequest())
        assert [model["id"] for model in listed["data"]] == ["large", "small", "vectors", "author", "gpt-4o-mini"]
        assert [model.get("alias_of") for model in listed["data"]] == [None, None, None, "large", "auto"]
        listed = await call(made.secret, "ListModels", models_pb2.ListModelsRequest())
        assert [model["id"] for model in listed["data"]] == ["large", "author", "gpt-4o-mini"]
        one = await call(made.secret, "GetModel", models_pb2.GetModelRequest(model="author"))
        assert (one["id"], one["alias_of"], one["context_length"]) == ("author", "large", 32768)
        one = await call(shared_router.key, "GetModel", models_pb2.GetModelRequest(model="small"))
        assert one["object"] == "model"
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await call(made.secret, "GetModel", models_pb2.GetModelRequest(model="small"))
        assert "x-enginehouse-openai-error" in dict(unknown.value.trailing_metadata())
        with pytest.raises(grpc.aio.AioRpcError) as bare:
            await stub.ListModels(models_pb2.ListModelsRequest())
        assert from_rpc_error(bare.value).reason.value == "GRANT_MISSING"
    assert reason_of(await shared_router.generate(made.secret, model="small")) == "MODEL_DENIED"


async def test_engines_are_tried_least_busy_first_and_draining_ones_not_at_all(
    shared_router: RouterProcess, registry: RegistryServer
) -> None:
    registry.put("engine-2", models=["small"], address="127.0.0.1:5002", active=1)
    registry.put("engine-3", models=["small"], address="127.0.0.1:5003", draining=True)
    registry.put("engine-1", models=["small"], address="127.0.0.1:5001", active=4, queued=9)

    async def order() -> str:
        return str((await shared_router.generate(shared_router.key)).headers.get("x-gateway-destination-endpoint"))

    await wait_until(order, "127.0.0.1:5002,127.0.0.1:5001")


async def test_compressed_and_overlong_bodies(shared_router: RouterProcess) -> None:
    import gzip

    message = generation_pb2.GenerateRequest(model="small", prompt="x" * 2000).SerializeToString()
    packed = gzip.compress(message)
    body = b"\1" + len(packed).to_bytes(4, "big") + packed
    assert (await shared_router.check(GENERATE, body, shared_router.key, grpc_encoding="gzip")).status_code == 200
    assert (
        reason_of(await shared_router.check(GENERATE, body, shared_router.key, grpc_encoding="snappy"))
        == "INVALID_REQUEST"
    )
    bomb = gzip.compress(b"\0" * (64 << 20))
    body = b"\1" + len(bomb).to_bytes(4, "big") + bomb
    assert (
        reason_of(await shared_router.check(GENERATE, body, shared_router.key, grpc_encoding="gzip"))
        == "REQUEST_TOO_LARGE"
    )
    large = generation_pb2.GenerateRequest(model="auto", prompt="word " * 1_600_000)
    began = time.perf_counter()
    refused = await shared_router.check(GENERATE, large, shared_router.key)
    assert reason_of(refused) == "CONTEXT_LENGTH_EXCEEDED"
    assert time.perf_counter() - began < 5


async def test_an_engine_that_joins_is_sent_requests(shared_router: RouterProcess, registry: RegistryServer) -> None:
    assert reason_of(await shared_router.generate(shared_router.key, model="asleep")) == "NO_ENDPOINT"
    registry.put("engine-9", models=["asleep"], address="127.0.0.1:5009")

    async def status() -> int:
        return int((await shared_router.generate(shared_router.key, model="asleep")).status_code)

    await wait_until(status, 200, within_s=2)
    router = next(live for live in registry.engines if live.engine.cluster == "router")
    served = set(router.engine.grpc_services)
    assert {"enginehouse.api.openai.v1.ModelsService", "enginehouse.api.router.v1.AdminService"} <= served
    assert "enginehouse.api.router.v1.UsageService" not in served, "it is internal"
