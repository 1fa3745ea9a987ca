"""Many more callers at once than a budget pays for: those it pays for are served, though their bounds are far more."""

from __future__ import annotations

import asyncio
import time

import grpc

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError, from_rpc_error
from tests.mesh import Mesh

CALLERS, PAID_FOR, MIN_SERVED = 300, 140, 130
WAITED = "x-enginehouse-budget-wait-ms"
REQUEST = generation_pb2.GenerateRequest(model="enginehouse-tiny", prompt="Once", max_output_tokens=8)


async def test_a_budget_serves_those_it_can_pay_for_out_of_many_at_once(mesh: Mesh) -> None:
    costs: list[int] = []
    waited_ms: list[int] = []
    refusals: list[ServiceError] = []

    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub: generation_pb2_grpc.GenerationServiceAsyncStub = generation_pb2_grpc.GenerationServiceStub(channel)

        async def ask(key: str) -> int:
            call = stub.Generate(REQUEST, metadata=(("authorization", f"Bearer {key}"),), timeout=60)
            cost = 0
            async for message in call:
                if message.HasField("summary"):
                    cost = message.summary.usage.cost_nanos
            told = dict(await call.initial_metadata())
            if WAITED in told:
                waited_ms.append(int(told[WAITED]))
            return cost

        # The first finds nothing in the model's cache and costs more; what it cost is no price for the others.
        await ask(mesh.key)
        cost = await ask(mesh.key)
        key_id, key = mesh.create_key("crowd", budget_nanos=cost * PAID_FOR)

        async def one() -> None:
            try:
                costs.append(await ask(key))
            except grpc.aio.AioRpcError as error:
                told = from_rpc_error(error)
                assert told is not None, error
                assert told.reason is Reason.BUDGET_EXHAUSTED, error
                refusals.append(told)

        await asyncio.gather(*(one() for _ in range(CALLERS)))

    needed = int(refusals[0].metadata["needed_nanos"])
    unspent = cost * PAID_FOR - sum(costs)
    # The bounds of a third of those who are served would have filled the budget.
    assert needed > 3 * cost
    assert len(costs) >= MIN_SERVED
    assert waited_ms
    assert 0 <= unspent < needed
    deadline = time.monotonic() + 20
    while mesh.spend(key_id) != sum(costs) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert mesh.spend(key_id) == sum(costs)
    (budget,) = [budget for budget in mesh.command("budgets", "list")["budgets"] if budget["scope_id"] == key_id]
    assert int(budget["leased_nanos"]) < needed
