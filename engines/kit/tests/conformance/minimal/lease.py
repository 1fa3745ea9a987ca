"""The lease at the registry."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc

from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc


class Lease:
    def __init__(self, gateway: str, engine: registry_pb2.Engine, load: Callable[[], registry_pb2.Load]) -> None:
        self.gateway = gateway
        self.engine = engine
        self.load = load
        self.closing = asyncio.Event()
        self.lease_s = 3.0

    async def run(self) -> None:
        while not self.closing.is_set():
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
                async with grpc.aio.insecure_channel(
                    self.gateway, options=(("grpc.use_local_subchannel_pool", 1),)
                ) as channel:
                    await self.hold(registry_pb2_grpc.RegistryServiceStub(channel))
            await asyncio.sleep(0.1)

    async def hold(self, stub: Any) -> None:
        call = stub.Register()
        await call.write(self.first_request())
        reporter: asyncio.Task[None] | None = None
        try:
            while True:
                async with asyncio.timeout(self.silence_s()):
                    response = await call.read()
                if response is grpc.aio.EOF:
                    return
                self.lease_s = response.lease_seconds or self.lease_s
                reporter = reporter or asyncio.create_task(self.report(call))
        finally:
            if reporter is not None:
                reporter.cancel()
            call.cancel()

    def first_request(self) -> registry_pb2.RegisterRequest:
        return registry_pb2.RegisterRequest(engine=self.engine, load=self.load())

    def silence_s(self) -> float:
        return self.lease_s

    def pause_s(self) -> float:
        return self.lease_s / 6

    async def report(self, call: Any) -> None:
        while not self.closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.pause_s()):
                    await self.closing.wait()
            if not self.closing.is_set():
                await call.write(registry_pb2.RegisterRequest(load=self.load()))
        await call.done_writing()
