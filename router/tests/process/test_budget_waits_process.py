"""Waiting for a budget as Envoy sees it: what is told, and callers who hang up."""

from __future__ import annotations

import asyncio
import time

from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.grants import peek
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.responses import reason_of
from router.tests.harness.router_process import RouterProcess
from router.tests.harness.waiting import wait_until

WAITED = "x-enginehouse-budget-wait-ms"
WAITING = "enginehouse_router_budget_waiters"


async def key_that_pays(router: RouterProcess, nanos: int) -> str:
    request = pb.CreateKeyRequest(name=f"w-{time.time_ns()}", budget_nanos=nanos)
    return str((await router.admin(router.key, "CreateKey", request)).secret)


async def key_that_pays_for_one(router: RouterProcess) -> str:
    checked = await router.generate(await key_that_pays(router, 10**15))
    bound = peek(checked.headers["x-enginehouse-grant"]).candidates[0].cap_nanos
    return await key_that_pays(router, bound + 1)


async def test_a_served_and_a_refused_request_tell_how_long_they_waited(shared_router: RouterProcess) -> None:
    engine = EngineReports(shared_router)
    key = await key_that_pays_for_one(shared_router)
    first = await shared_router.generate(key)
    assert WAITED not in first.headers
    # A caller in a hurry is told before it leaves.
    hurried = await shared_router.generate(key, headers={"grpc_timeout": "250m"})
    assert reason_of(hurried) == "BUDGET_EXHAUSTED"
    assert 0 < int(hurried.headers[WAITED]) < 2_000
    assert hurried.headers["retry-after"] == "1"
    waiting = asyncio.create_task(shared_router.generate(key))
    await wait_until(lambda: shared_router.metric(WAITING), 1)
    before_ms = time.time_ns() // 1_000_000
    report = await engine.report(first.headers["x-enginehouse-grant"], output=0)
    assert report.status == usage_pb2.ReportResponse.STATUS_SETTLED
    served = await waiting
    assert int(served.headers[WAITED]) > 0
    grant = peek(served.headers["x-enginehouse-grant"])
    # Its engine has the whole window to start.
    assert grant.issued_at_ms >= before_ms
    assert grant.accept_by_ms - grant.issued_at_ms == 10_000
    await engine.report(served.headers["x-enginehouse-grant"], output=1)
    spent = await shared_router.generate(key)
    assert reason_of(spent) == "BUDGET_EXHAUSTED"
    assert not {WAITED, "retry-after"} & set(spent.headers)
    await engine.close()


async def test_a_caller_that_hangs_up_waits_no_longer(shared_router: RouterProcess) -> None:
    engine = EngineReports(shared_router)
    key = await key_that_pays_for_one(shared_router)
    first = await shared_router.generate(key)
    gone = asyncio.create_task(shared_router.generate(key))
    await wait_until(lambda: shared_router.metric(WAITING), 1)
    gone.cancel()
    await asyncio.wait([gone])
    await wait_until(lambda: shared_router.metric(WAITING), 0, within_s=1.5)
    await engine.report(first.headers["x-enginehouse-grant"], output=0)
    # Nothing was reserved for it.
    assert (await shared_router.generate(key)).status_code == 200
    await engine.close()
