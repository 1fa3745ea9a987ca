"""RegistryService over real gRPC, without Envoy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.gateway.registry import Registry, RegistryServicer
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.errors import Reason, from_status

ENGINE = registry_pb2.Engine(
    engine_id="one", cluster="inference", address="127.0.0.1:9001", grpc_services=["a.b.C"], capacity=1
)


@pytest.fixture
async def registry() -> Registry:
    return Registry(contracts=load_contracts(), lease_s=1, clock=time.monotonic)


@pytest.fixture
async def stub(registry: Registry) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(RegistryServicer(registry=registry), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield registry_pb2_grpc.RegistryServiceStub(channel)
    await server.stop(grace=0)


async def registered(stub: Any, engine: registry_pb2.Engine = ENGINE) -> Any:
    call = stub.Register()
    await call.write(registry_pb2.RegisterRequest(engine=engine, load=registry_pb2.Load()))
    assert (await call.read()).lease_seconds == 1
    return call


async def refused(call: Any) -> tuple[grpc.StatusCode, Reason, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await call.read() is not grpc.aio.EOF:
            pass
        raise AssertionError("it ended well")
    status = await rpc_status.aio.from_call(call)
    error = from_status(status)
    assert error is not None
    return caught.value.code(), error.reason, error.message


async def settled(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_stream_is_a_lease(stub: Any, registry: Registry) -> None:
    call = await registered(stub)
    await call.write(registry_pb2.RegisterRequest(load=registry_pb2.Load(active=2)))
    assert (await call.read()).lease_seconds == 0
    assert registry.live()[0].load.active == 2
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert registry.live() == ()


async def test_a_cut_stream_ends_the_lease_at_once(stub: Any, registry: Registry) -> None:
    call = await registered(stub)
    call.cancel()
    await settled(lambda: registry.live() == ())


async def test_a_lapsed_lease_ends_the_stream(stub: Any, registry: Registry) -> None:
    call = await registered(stub)
    registry.leases()[0].expires_at = 0
    registry.sweep(every_s=0.1)
    code, reason, message = await refused(call)
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)
    assert "register again" in message


async def test_refusals_carry_the_field_at_fault(stub: Any) -> None:
    call = stub.Register()
    bad = registry_pb2.Engine(engine_id="one", cluster="inference", address="here:1", grpc_services=["a.b.C"])
    await call.write(registry_pb2.RegisterRequest(engine=bad))
    code, reason, message = await refused(call)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.INVALID_REQUEST)
    assert "engine.address: 'here:1' must be a literal IP address" in message


async def test_a_first_request_without_an_engine_is_refused(stub: Any) -> None:
    call = stub.Register()
    await call.write(registry_pb2.RegisterRequest(load=registry_pb2.Load()))
    assert (await refused(call))[1] is Reason.INVALID_REQUEST


async def test_an_engine_cannot_become_another_one(stub: Any, registry: Registry) -> None:
    call = await registered(stub)
    other = registry_pb2.Engine(engine_id="two", cluster="inference", address="127.0.0.1:9001", grpc_services=["x.Y"])
    await call.write(registry_pb2.RegisterRequest(engine=other, load=registry_pb2.Load()))
    assert "open a new Register stream" in (await refused(call))[2]
    await settled(lambda: registry.live() == ())


async def test_the_replaced_engine_is_told(stub: Any, registry: Registry) -> None:
    first = await registered(stub)
    second = await registered(stub)
    assert (await refused(first))[1] is Reason.ALREADY_EXISTS
    assert len(registry.live()) == 1
    second.cancel()
    await settled(lambda: registry.live() == ())


async def test_watchers_get_the_set_at_once_and_after_changes(stub: Any) -> None:
    watch = stub.WatchEngines(registry_pb2.WatchEnginesRequest())
    assert (await watch.read()).engines == []
    call = await registered(stub)
    [live] = (await watch.read()).engines
    assert live.engine == ENGINE
    await call.write(registry_pb2.RegisterRequest(load=registry_pb2.Load(active=1)))
    assert (await watch.read()).engines[0].load.active == 1
    other = registry_pb2.Engine(engine_id="two", cluster="inference", address="127.0.0.1:9002", grpc_services=["a.b.C"])
    await registered(stub, other)
    assert [live.engine.engine_id for live in (await watch.read()).engines] == ["one", "two"]
    watch.cancel()
