"""The server's doors, and its end: in a process of its own, by a real signal, while streams run."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.config import ConfigError
from enginehouse.kit.errors import Reason, from_rpc_error
from enginehouse.kit.server import EngineServer
from enginehouse.kit.telemetry import RpcMetrics
from enginehouse.kit.testing import GrantIssuer, RegistryRecorder, UsageRecorder

NAME = "enginehouse.api.inference.v1.GenerationService"
GENERATE = f"/{NAME}/Generate"


class Ungranted(generation_pb2_grpc.GenerationServiceServicer):
    async def Tokenize(self, request: Any, context: Any) -> generation_pb2.TokenizeResponse:
        return generation_pb2.TokenizeResponse(token_ids=[7])


async def test_health_reflection_and_metrics(serve: Any) -> None:
    registry = CollectorRegistry()
    server, address = await serve(
        partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, cast("Any", Ungranted)()),
        metrics=RpcMetrics(registry),
    )
    assert server.service_names == (NAME,)
    assert server.ready
    async with grpc.aio.insecure_channel(str(address)) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", NAME):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        for version in ("v1", "v1alpha"):
            ask: Any = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            call = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            listed = await call.read()
            assert NAME in {service.name for service in listed.list_services_response.service}
            call.cancel()
        stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
        await stub.Tokenize(generation_pb2.TokenizeRequest())
    labels = {"method": f"/{NAME}/Tokenize", "code": "OK"}
    assert registry.get_sample_value("enginehouse_rpc_seconds_count", labels) == 1
    assert registry.get_sample_value("enginehouse_rpc_active") == 0


async def test_a_method_left_out_is_unimplemented(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, address = await serve(
        partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, cast("Any", Ungranted)())
    )
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(generation_pb2.EmbedRequest())
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.UNKNOWN_METHOD
    assert "Embed" in error.message


async def test_a_malformed_message_in_a_stream(serve: Any, recorder: UsageRecorder) -> None:
    _, address = await serve(recorder.add_to)
    async with grpc.aio.insecure_channel(str(address)) as channel:
        report: Any = channel.stream_stream("/enginehouse.api.router.v1.UsageService/Report")
        call = report()
        await call.write(usage_pb2.ReportRequest(sequence=1, watermark=usage_pb2.Watermark()).SerializeToString())
        assert usage_pb2.ReportResponse.FromString(await call.read()).sequence == 1
        await call.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.INVALID_REQUEST


async def test_an_address_in_use_is_named(serve: Any) -> None:
    _, address = await serve()
    with pytest.raises(ConfigError, match=f"{address} cannot be listened on"):
        await EngineServer(listen=str(address), services=[]).start()


ENGINE = """
import asyncio, functools, sys
from pathlib import Path
from enginehouse.api.common.v1.usage_pb2 import UNIT_OUTPUT_TOKENS
from enginehouse.api.gateway.v1.registry_pb2 import Engine, Load
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.kit.calls import Calls
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.server.registry import RegistryLease
from enginehouse.kit.server import EngineServer, run
from enginehouse.kit.telemetry import configure_logging
from enginehouse.kit.usage import Spool, UsageReporter

router, gateway, directory, drain_s = sys.argv[1:]

class Slow(generation_pb2_grpc.GenerationServiceServicer):
    def __init__(self, calls):
        self.calls = calls

    async def Generate(self, request, context):
        async with self.calls.accept(context, served_models={"m"}) as call:
            for _ in range(request.max_output_tokens):
                if not call.meter.take(UNIT_OUTPUT_TOKENS):
                    return
                yield generation_pb2.GenerateResponse(model="m")
                await asyncio.sleep(0.02)

async def main():
    configure_logging(process="engine")
    spool = Spool(directory=Path(directory) / "spool", engine_id="engine-test")
    calls = Calls(keys=GrantKeys.load(Path(directory) / "keys"), spool=spool)
    server = EngineServer(
        listen="127.0.0.1:0",
        services=[functools.partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, Slow(calls))],
        lease=lambda address: RegistryLease(
            gateway_address=gateway,
            engine=Engine(engine_id="engine-test", cluster="inference", address=str(address)),
            load=lambda: Load(active=calls.active),
        ),
        reporter=UsageReporter(spool=spool, router_address=router),
        spool=spool,
        drain_s=float(drain_s),
    )
    await server.start()
    await server.serve_until_signal()

run(main())
"""


class EngineProcess:
    """An engine in a process of its own, with what it says."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", ENGINE, *arguments], stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self.said.extend(lines)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, timeout_s: float = 20) -> int:
        code = await asyncio.to_thread(self._process.wait, timeout_s)
        await asyncio.to_thread(self._reader.join, 5)
        return code

    async def stop(self) -> None:
        self._process.kill()
        await self.end()


class Mesh:
    def __init__(self, issuer: GrantIssuer, recorder: UsageRecorder, registry: RegistryRecorder, start: Any) -> None:
        self.issuer = issuer
        self.recorder = recorder
        self.registry = registry
        self.start = start

    async def generate(self, tokens: int) -> tuple[Any, grpc.aio.Channel]:
        """A stream that has begun."""
        await self.registry.wait_until(lambda registry: bool(registry.live), timeout_s=30)
        channel = grpc.aio.insecure_channel(self.registry.live["engine-test"].address)
        stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
        call = stub.Generate(
            generation_pb2.GenerateRequest(max_output_tokens=tokens),
            metadata=self.issuer.metadata(GENERATE, models=["m"]),
        )
        await call.read()
        return call, channel

    def tokens(self) -> dict[int, int]:
        """Output tokens reported, by outcome."""
        return {record.outcome: record.usage.units[0].amount for record in self.recorder.settled.values()}


@pytest.fixture
async def mesh(issuer: GrantIssuer, recorder: UsageRecorder, serve: Any, tmp_path: Path) -> AsyncIterator[Mesh]:
    registry = RegistryRecorder()
    _, router = await serve(recorder.add_to)
    _, gateway = await serve(registry.add_to)
    keys = issuer.keys.generate(tmp_path / "keys")
    issuer.keys = keys
    recorder._keys = keys
    async with contextlib.AsyncExitStack() as stack:

        def start(*, drain_s: float = 10) -> EngineProcess:
            process = EngineProcess(str(router), str(gateway), str(tmp_path), str(drain_s))
            stack.push_async_callback(process.stop)
            return process

        yield Mesh(issuer, recorder, registry, start)


async def remaining(call: Any) -> int:
    """The number of more messages come before the call's end, whatever its status."""
    count = 0
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            count += 1
    return count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_deregisters_first_lets_streams_finish_and_reports(mesh: Mesh, number: signal.Signals) -> None:
    engine = mesh.start()
    call, channel = await mesh.generate(60)
    engine.signal(number)
    await mesh.registry.wait_until(lambda registry: not registry.live)
    stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
    for _ in range(100):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Embed(generation_pb2.EmbedRequest())
        error = from_rpc_error(caught.value)
        assert error is not None
        if error.reason is Reason.ENGINE_DRAINING:
            break
        await asyncio.sleep(0.01)
    assert error is not None
    assert error.reason is Reason.ENGINE_DRAINING
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert await remaining(call) == 59
    assert await call.code() is grpc.StatusCode.OK
    assert await engine.end() == 0
    assert mesh.tokens() == {usage_pb2.OUTCOME_COMPLETED: 60}
    await channel.close()


async def test_a_stream_that_does_not_finish_in_time_is_cut_and_billed(mesh: Mesh) -> None:
    engine = mesh.start(drain_s=0.3)
    call, channel = await mesh.generate(100_000)
    engine.signal(signal.SIGTERM)
    received = 1 + await remaining(call)
    assert await call.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert await engine.end() == 0
    assert received <= mesh.tokens()[usage_pb2.OUTCOME_CANCELLED] <= received + 1
    await channel.close()


async def test_a_second_signal_does_not_wait(mesh: Mesh) -> None:
    engine = mesh.start(drain_s=1000)
    call, channel = await mesh.generate(100_000)
    engine.signal(signal.SIGTERM)
    await mesh.registry.wait_until(lambda registry: not registry.live)
    engine.signal(signal.SIGTERM)
    assert await engine.end() == 0
    call.cancel()
    assert list(mesh.tokens()) == [usage_pb2.OUTCOME_CANCELLED]
    await channel.close()


async def test_kill_9_is_reported_by_the_next_start(mesh: Mesh) -> None:
    engine = mesh.start()
    call, channel = await mesh.generate(100_000)
    received = 1
    for _ in range(10):
        await call.read()
        received += 1
    engine.signal(signal.SIGKILL)
    assert await engine.end() == -9
    received += await remaining(call)
    assert await call.code() is grpc.StatusCode.UNAVAILABLE
    await channel.close()
    assert not mesh.recorder.settled
    engine = mesh.start()
    await mesh.recorder.wait_until(lambda recorder: bool(recorder.settled), timeout_s=30)
    counted = mesh.tokens()[usage_pb2.OUTCOME_CRASHED]
    # All that arrived was counted, and at most what was on its way besides.
    assert received <= counted <= received + 2
    # The grant is not good again after the restart.
    (record,) = mesh.recorder.settled.values()
    await mesh.registry.wait_until(lambda registry: bool(registry.live), timeout_s=30)
    async with grpc.aio.insecure_channel(mesh.registry.live["engine-test"].address) as channel:
        stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Generate(
                generation_pb2.GenerateRequest(max_output_tokens=1),
                metadata=(("x-enginehouse-grant", record.grant),),
            ).read()
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.GRANT_REPLAYED
    engine.signal(signal.SIGTERM)
    assert await engine.end() == 0
