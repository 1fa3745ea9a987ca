"""A crowd on a budget: many more callers at once than it pays for, through a whole mesh with a real model."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import grpc

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from tests.mesh import Mesh

from .ports import wait_until

CALLERS = 300
PAID_FOR = 140
"""By the cost of a first answer; later ones cost less where the engine has the prompt in its cache."""
TIMEOUT_S = 120.0
SETTLED_S = 30.0
REQUEST = generation_pb2.GenerateRequest(model="enginehouse-tiny", prompt="Once", max_output_tokens=8)


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """The outcome of a crowd on a budget."""

    budget_nanos: int
    spent_nanos: int
    """Once everything was settled."""
    served: int
    refused: int
    """For the budget; others failed, as where the router was too busy to answer."""
    seconds: float

    def figures(self) -> dict[str, float]:
        """The figures of the table."""
        return {
            "crowd_served": self.served,
            "crowd_refused": self.refused,
            "crowd_failed": CALLERS - self.served - self.refused,
            "crowd_spent_of_budget": self.spent_nanos / self.budget_nanos,
            "crowd_overspend_nanos": max(0, self.spent_nanos - self.budget_nanos),
            "crowd_seconds": self.seconds,
        }


def measure_crowd() -> dict[str, float]:
    """Send three hundred callers at once to a budget that pays for 140 of them."""
    with Mesh.started() as mesh:
        return asyncio.run(crowd(mesh)).figures()


async def crowd(mesh: Mesh) -> Crowd:
    """Race the crowd, and wait until what was served is settled."""
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub: generation_pb2_grpc.GenerationServiceAsyncStub = generation_pb2_grpc.GenerationServiceStub(channel)

        async def ask(key: str) -> int | grpc.StatusCode:
            """The cost, or the status of the refusal."""
            cost = 0
            try:
                call = stub.Generate(REQUEST, metadata=(("authorization", f"Bearer {key}"),), timeout=TIMEOUT_S)
                async for message in call:
                    cost = message.summary.usage.cost_nanos or cost
            except grpc.aio.AioRpcError as error:
                return error.code()
            return cost

        cost = await ask(mesh.key)
        if not isinstance(cost, int) or not cost:
            raise RuntimeError(f"the model must answer, and at a price, for a budget to be exhausted: {cost}")
        key_id, key = mesh.create_key("crowd", budget_nanos=cost * PAID_FOR)
        began = time.monotonic()
        outcomes = await asyncio.gather(*(ask(key) for _ in range(CALLERS)))
        seconds = time.monotonic() - began
    costs = [outcome for outcome in outcomes if isinstance(outcome, int)]
    wait_until(lambda: mesh.spend(key_id) >= sum(costs), seconds=SETTLED_S, what="settlement of the crowd's answers")
    return Crowd(
        budget_nanos=cost * PAID_FOR,
        spent_nanos=mesh.spend(key_id),
        served=len(costs),
        refused=outcomes.count(grpc.StatusCode.RESOURCE_EXHAUSTED),
        seconds=seconds,
    )
