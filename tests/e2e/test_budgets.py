"""Budgets under concurrency, seen from outside."""

from __future__ import annotations

import asyncio
import time

import grpc

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from tests.mesh import Mesh

BUDGET_NANOS = 2_000_000


async def test_two_hundred_at_once_cannot_overspend_a_small_budget(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("race", budget_nanos=BUDGET_NANOS)
    request = generation_pb2.GenerateRequest(model="enginehouse-tiny", prompt="Once", max_output_tokens=64)
    costs: list[int] = []
    refusals: list[str] = []

    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)

        async def one() -> None:
            try:
                async for message in stub.Generate(request, metadata=(("authorization", f"Bearer {key}"),), timeout=60):
                    if message.HasField("summary"):
                        costs.append(message.summary.usage.cost_nanos)
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
                refusals.append(error.details() or "")

        await asyncio.gather(*(one() for _ in range(200)))

        deadline = time.monotonic() + 20
        while mesh.spend(key_id) != sum(costs) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        assert mesh.spend(key_id) == sum(costs)
        assert 0 < sum(costs) <= BUDGET_NANOS
        assert refusals

        # With everything settled, what is left is spent to within one request's bound.
        while True:
            before = len(refusals)
            await one()
            if len(refusals) > before:
                break
        bound = max(costs) * 4
        assert BUDGET_NANOS - sum(costs) <= bound
