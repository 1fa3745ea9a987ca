"""More money for running requests, as an engine asks a real router for it."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import usage_pb2, usage_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError, from_rpc_error
from enginehouse.kit.grants import peek, sign
from enginehouse.kit.pricing import MAX_NANOS
from enginehouse.kit.usage import GrantExtensions
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.router_process import RouterFactory, RouterProcess

SETTLED = usage_pb2.ReportResponse.STATUS_SETTLED
# small: 200 nano-dollars an output token.
TOKEN = 200


@pytest.fixture
async def usage(shared_router: RouterProcess) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shared_router.grpc}") as channel:
        yield usage_pb2_grpc.UsageServiceStub(channel)


def need(token: str, nanos: int, *, want: int = 0, model: str = "small") -> usage_pb2.ExtendRequest:
    return usage_pb2.ExtendRequest(grant=token, model=model, need_nanos=nanos, want_nanos=want)


async def refusal(call: Any) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    error = from_rpc_error(failed.value)
    assert error is not None
    return error


async def key_of(router: RouterProcess, **fields: Any) -> pb.CreateKeyResponse:
    return await router.admin(router.key, "CreateKey", pb.CreateKeyRequest(name="app", **fields))


async def token_of(router: RouterProcess, key: str, **fields: Any) -> str:
    response = await router.generate(key, max_output_tokens=10, **fields)
    assert response.status_code == 200, response.headers.get("grpc-message")
    return str(response.headers["x-enginehouse-grant"])


def cap(token: str) -> int:
    return peek(token).candidates[0].cap_nanos


async def spend(router: RouterProcess, key_id: str) -> int:
    found = await router.admin(router.key, "QuerySpend", pb.QuerySpendRequest(key_id=key_id))
    return int(found.total_nanos)


async def budget(router: RouterProcess, key_id: str) -> tuple[int, int]:
    listed = await router.admin(router.key, "ListBudgets", pb.ListBudgetsRequest(scope_id=key_id))
    (found,) = listed.budgets
    return found.limit_nanos, found.settled_nanos


@pytest.mark.parametrize("limit", [None, 10_000_000])
async def test_spend_shows_the_whole_of_an_extended_request(
    shared_router: RouterProcess, usage: Any, limit: int | None
) -> None:
    made = await key_of(shared_router, budget_nanos=limit)
    before = await token_of(shared_router, made.secret)
    # The router that holds it is named as engines reach it.
    assert peek(before).replica_address == f"127.0.0.1:{shared_router.grpc}"
    tokens = cap(before) // TOKEN + 500
    answers = [await usage.Extend(need(before, 500 * TOKEN, want=700 * TOKEN)) for _ in range(3)]
    # Asked again, because an answer was lost, it takes nothing more.
    assert {cap(answer.grant) for answer in answers} == {cap(before) + 700 * TOKEN}
    assert peek(answers[0].grant).grant_id == peek(before).grant_id
    engine = EngineReports(shared_router)
    assert (await engine.report(answers[2].grant, output=tokens)).status == SETTLED
    again = await engine.report(before, output=tokens)
    assert again.status == usage_pb2.ReportResponse.STATUS_ALREADY_SETTLED
    await engine.close()
    assert await spend(shared_router, made.key.key_id) == tokens * TOKEN > cap(before)
    if limit is not None:
        assert await budget(shared_router, made.key.key_id) == (limit, tokens * TOKEN)
    # What has been settled is not extended.
    error = await refusal(usage.Extend(need(answers[0].grant, 1)))
    assert error.reason is Reason.LEDGER_UNAVAILABLE
    assert "send it again" in error.message


async def test_a_budget_that_has_no_more_is_named_and_never_overspent(shared_router: RouterProcess, usage: Any) -> None:
    made = await key_of(shared_router, budget_nanos=1_000 * TOKEN)
    token = await token_of(shared_router, made.secret)
    left = 1_000 * TOKEN - cap(token)
    error = await refusal(usage.Extend(need(token, left + 1)))
    assert (error.reason, error.metadata["scope"]) == (Reason.BUDGET_EXHAUSTED, "key")
    assert error.metadata["scope_id"] == made.key.key_id
    # What is wanted is more than there is: what is needed is had.
    token = (await usage.Extend(need(token, left, want=10 * left))).grant
    assert cap(token) == 1_000 * TOKEN
    assert (await refusal(usage.Extend(need(token, 1)))).reason is Reason.BUDGET_EXHAUSTED
    assert (await shared_router.generate(made.secret, max_output_tokens=1)).status_code != 200
    engine = EngineReports(shared_router)
    # An engine that counts past its cap is billed up to it.
    assert (await engine.report(token, output=1_500)).status == SETTLED
    await engine.close()
    assert await budget(shared_router, made.key.key_id) == (1_000 * TOKEN, 1_000 * TOKEN)


async def test_a_request_is_not_extended_past_its_own_bound(shared_router: RouterProcess, usage: Any) -> None:
    made = await key_of(shared_router, max_request_nanos=9_000)
    token = await token_of(shared_router, made.secret)
    more = 9_000 - cap(token)
    error = await refusal(usage.Extend(need(token, more + 1)))
    assert (error.reason, error.metadata) == (
        Reason.BUDGET_EXHAUSTED,
        {"scope": "request", "cap_nanos": "9000", "needed_nanos": "9001"},
    )
    if more:
        assert cap((await usage.Extend(need(token, more, want=10**9))).grant) == 9_000


async def test_what_is_no_need_of_a_valid_grant_is_refused(shared_router: RouterProcess, usage: Any) -> None:
    token = await token_of(shared_router, (await key_of(shared_router)).secret)
    late = peek(token)
    late.expires_at_ms = int(time.time() * 1000) - 1
    elsewhere = peek(token)
    elsewhere.replica_id = "rtr_other"
    dear = peek(token)
    dear.candidates[0].cap_nanos = MAX_NANOS
    head, _, mac = token.rpartition(".")
    forged = dear.SerializeToString()
    for request, reason in (
        (need("", 1), Reason.GRANT_MISSING),
        (need(f"{head}.{mac[::-1]}", 1), Reason.GRANT_INVALID),
        (need(f"v1.k1.{base64.urlsafe_b64encode(forged).decode().rstrip('=')}.{mac}", 1), Reason.GRANT_INVALID),
        (need(sign(late, keys=shared_router.grant_keys), 1), Reason.GRANT_EXPIRED),
        (need(sign(elsewhere, keys=shared_router.grant_keys), 1), Reason.LEDGER_UNAVAILABLE),
        (need(token, 0), Reason.INVALID_REQUEST),
        (need(token, -5), Reason.INVALID_REQUEST),
        (need(token, MAX_NANOS), Reason.INVALID_REQUEST),
        (need(token, 1, model="large"), Reason.INVALID_REQUEST),
    ):
        assert (await refusal(usage.Extend(request))).reason is reason
    assert cap((await usage.Extend(need(token, 1))).grant) == cap(token) + 1


async def test_a_router_that_is_gone_is_told_with_what_to_do(make_router: RouterFactory) -> None:
    router = make_router()
    await router.create_first_key()
    router.start()
    await router.ready()
    await router.knows_its_engine()
    made = await key_of(router, budget_nanos=1_000 * TOKEN)
    first, second = [await token_of(router, made.secret) for _ in range(2)]
    extensions = GrantExtensions()
    address = peek(first).replica_address
    # Extended, and killed before the engine is through.
    extended = await extensions.extend(need(first, 400 * TOKEN), address=address)
    router.kill()
    with pytest.raises(ServiceError) as gone:
        await extensions.extend(need(second, 1), address=address)
    assert gone.value.reason is Reason.LEDGER_UNAVAILABLE
    assert address in gone.value.message
    assert "send it again" in gone.value.message
    router.start()
    await router.ready()
    # At the same address there is another registration, which holds none of its reservations.
    anew = GrantExtensions()
    with pytest.raises(ServiceError) as another:
        await anew.extend(need(second, 1), address=address)
    assert another.value.reason is Reason.LEDGER_UNAVAILABLE
    assert "gone" in another.value.message
    assert "send it again" in another.value.message
    # What was extended is billed whole all the same, from the budget that paid.
    engine = EngineReports(router)
    tokens = cap(extended) // TOKEN
    assert tokens > cap(first) // TOKEN
    assert (await engine.report(extended, output=tokens)).status == SETTLED
    assert (await engine.report(second, output=1)).status == SETTLED
    await engine.close()
    assert await spend(router, made.key.key_id) == (tokens + 1) * TOKEN
    assert await budget(router, made.key.key_id) == (1_000 * TOKEN, (tokens + 1) * TOKEN)
    for channel in (extensions, anew):
        await channel.close()
