"""Processes killed with SIGKILL under load: the callers' results and the ledger afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
import pytest

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from tests.mesh import Mesh

REQUEST = generation_pb2.GenerateRequest(model="enginehouse-tiny", prompt="Once", max_output_tokens=3)
RECOVERY_S = 40.0


@dataclass
class Load:
    """Results of a few callers that send requests without pause."""

    costs: list[int] = field(default_factory=list)
    failed_before_first_message: list[grpc.aio.AioRpcError] = field(default_factory=list)
    cut: list[grpc.aio.AioRpcError] = field(default_factory=list)
    stop: bool = False

    async def ask(self, stub: generation_pb2_grpc.GenerationServiceAsyncStub, key: str) -> None:
        """Send requests until `stop` is set."""
        while not self.stop:
            begun = False
            try:
                async for message in stub.Generate(REQUEST, metadata=(("authorization", f"Bearer {key}"),), timeout=30):
                    begun = True
                    if message.HasField("summary"):
                        self.costs.append(message.summary.usage.cost_nanos)
            except grpc.aio.AioRpcError as error:
                (self.cut if begun else self.failed_before_first_message).append(error)
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def load(mesh: Mesh, key: str, *, callers: int = 6) -> AsyncIterator[Load]:
    """Keep callers sending requests while the context is open."""
    seen = Load()
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        tasks = [asyncio.create_task(seen.ask(stub, key)) for _ in range(callers)]
        try:
            await until(lambda: len(seen.costs) > 20)
            yield seen
        finally:
            seen.stop = True
            await asyncio.gather(*tasks)


async def until(condition: object, *, timeout_s: float = RECOVERY_S) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the mesh did not recover in time"
        await asyncio.sleep(0.05)


async def kill(mesh: Mesh, name: str) -> None:
    """Kill a process and wait until the supervisor has started another in its place."""
    victim = mesh.processes()[name]
    os.kill(victim, signal.SIGKILL)
    await until(lambda: mesh.processes().get(name, victim) != victim)


async def settled_is_what_callers_saw(mesh: Mesh, key_id: str, seen: Load) -> None:
    """Wait until the ledger's sum reaches the sum of the costs that callers were told."""
    await until(lambda: mesh.spend(key_id) >= sum(seen.costs))


def engine_names(mesh: Mesh) -> list[str]:
    return sorted(name for name in mesh.processes() if name.startswith("inference"))


async def test_a_killed_engine_costs_no_request_that_had_not_begun(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("engine-killed", budget_nanos=10_000_000_000)
    async with load(mesh, key) as seen:
        await kill(mesh, engine_names(mesh)[0])
        done = len(seen.costs)
        await until(lambda: len(seen.costs) > done + 20)
    assert seen.failed_before_first_message == []
    assert len(seen.cut) <= 6
    await settled_is_what_callers_saw(mesh, key_id, seen)


async def test_a_killed_control_plane_costs_no_request(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("gateway-killed", budget_nanos=10_000_000_000)
    async with load(mesh, key) as seen:
        await kill(mesh, "gateway")
        done = len(seen.costs)
        await until(lambda: len(seen.costs) > done + 40)
        # Long enough for the registry's grace to end and the new snapshot to be the served one.
        await asyncio.sleep(3)
    assert seen.failed_before_first_message == []
    assert seen.cut == []
    await until(lambda: mesh.spend(key_id) == sum(seen.costs))


async def test_a_killed_router_fails_closed_and_loses_no_money(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("router-killed", budget_nanos=10_000_000_000)
    async with load(mesh, key) as seen:
        await kill(mesh, "router")
        done = len(seen.costs)
        await until(lambda: len(seen.costs) > done + 20)
    refused = {error.code() for error in seen.failed_before_first_message}
    assert refused <= {grpc.StatusCode.UNAVAILABLE}
    assert seen.cut == []
    await until(lambda: mesh.spend(key_id) == sum(seen.costs))


async def test_a_killed_envoy_comes_back(mesh: Mesh) -> None:
    key_id, key = mesh.create_key("envoy-killed", budget_nanos=10_000_000_000)
    async with load(mesh, key) as seen:
        await kill(mesh, "envoy")
        done = len(seen.costs)
        await until(lambda: len(seen.costs) > done + 20)
    assert {error.code() for error in seen.failed_before_first_message} <= {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
    }
    await settled_is_what_callers_saw(mesh, key_id, seen)


async def test_a_budget_holds_through_kills_of_router_and_engine(mesh: Mesh) -> None:
    budget = 400_000
    key_id, key = mesh.create_key("small-through-kills", budget_nanos=budget)
    seen = Load()
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        tasks = [asyncio.create_task(seen.ask(stub, key)) for _ in range(6)]
        try:
            await kill(mesh, "router")
            await kill(mesh, engine_names(mesh)[1])
            await kill(mesh, "router")
        finally:
            seen.stop = True
            await asyncio.gather(*tasks)
    await until(lambda: mesh.spend(key_id) >= sum(seen.costs))
    assert mesh.spend(key_id) <= budget


@pytest.fixture(autouse=True)
async def healthy(mesh: Mesh) -> None:
    """Each test begins with every process up and the mesh answering."""
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        deadline = time.monotonic() + RECOVERY_S
        while True:
            try:
                async for _ in stub.Generate(REQUEST, metadata=(("authorization", f"Bearer {mesh.key}"),), timeout=5):
                    pass
                return
            except grpc.aio.AioRpcError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
