"""A text engine in the test's process: real llama.cpp, real gRPC, grants signed as a router signs them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import yaml

from enginehouse.api.common.v1 import usage_pb2 as units
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.inference.v1.generation_pb2 import (
    ChoiceDelta,
    GenerateRequest,
    GenerateResponse,
    GenerationSummary,
    Message,
)
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.api.router.v1.usage_pb2 import UsageRecord
from enginehouse.engines import inference
from enginehouse.engines.inference.backends.base import TextBackend
from enginehouse.engines.inference.backends.llamacpp import LlamaCppBackend
from enginehouse.engines.inference.config import CLUSTER
from enginehouse.engines.inference.engine import TextEngine
from enginehouse.engines.inference.resume_tokens import ResumeTokens
from enginehouse.engines.inference.servicer import GenerationServicer
from enginehouse.kit.calls import Calls
from enginehouse.kit.catalog import Catalog, CatalogModel
from enginehouse.kit.errors import ServiceError, from_rpc_error
from enginehouse.kit.loading import LoadingSettings, serve_models
from enginehouse.kit.openai import TextServicer
from enginehouse.kit.server import EngineServer
from enginehouse.kit.testing import GrantIssuer, UsageRecorder
from enginehouse.kit.usage import GrantExtensions, Spool, UsageReporter

SERVICE = "/enginehouse.api.inference.v1.GenerationService"
INPUT, OUTPUT, CACHED = units.UNIT_INPUT_TOKENS, units.UNIT_OUTPUT_TOKENS, units.UNIT_CACHED_INPUT_TOKENS
PRICES = {INPUT: 50_000_000, CACHED: 5_000_000, OUTPUT: 200_000_000}
ALL = frozenset({"chat", "completion", "json_schema", "grammar", "tools", "logprobs"})


def llama_model(name: str, path: Path | str, *, context: int = 512, **changes: Any) -> CatalogModel:
    """A catalog entry for a GGUF file."""
    values: dict[str, Any] = {
        "name": name,
        "cluster": "inference",
        "backend": "llama.cpp",
        "source": str(path) if ":" in str(path) else f"file:{path}",
        "context_tokens": context,
        "max_output_tokens": 32,
        "capabilities": ALL,
        "quality": 0.1,
        "prices": PRICES,
        # One thread: several wait for each other by spinning, on a machine that tests share.
        "options": {"threads": 1},
    }
    return CatalogModel(**(values | changes))


def user(text: str) -> Message:
    return Message(role=generation_pb2.ROLE_USER, content=text)


@dataclass
class Answer:
    """A whole generation, put together."""

    responses: list[GenerateResponse] = field(default_factory=list)
    text: dict[int, str] = field(default_factory=dict)
    reasoning: dict[int, str] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    ends: dict[int, ChoiceDelta] = field(default_factory=dict)
    calls: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    logprobs: list[Any] = field(default_factory=list)
    trailers: Mapping[str, str] = field(default_factory=dict)

    def add(self, response: GenerateResponse) -> None:
        self.responses.append(response)
        for delta in response.deltas:
            assert delta.index not in self.ends, "a delta after its choice's end"
            self.text[delta.index] = self.text.get(delta.index, "") + delta.text
            self.tokens[delta.index] = self.tokens.get(delta.index, 0) + delta.token_count
            self.logprobs.extend(delta.logprobs)
            for call in delta.tool_calls:
                own = self.calls.setdefault(delta.index, [])
                if call.index == len(own):
                    own.append({"id": call.id, "name": call.name, "arguments": ""})
                own[call.index]["arguments"] += call.arguments
            if delta.finish_reason:
                self.ends[delta.index] = delta

    @property
    def summary(self) -> GenerationSummary:
        return self.responses[-1].summary

    @property
    def usage(self) -> dict[int, int]:
        return {unit.unit: unit.amount for unit in self.summary.usage.units}


class EngineClient:
    """A client that calls the engine as the mesh would: each call with a grant of its own."""

    def __init__(
        self,
        *,
        channel: grpc.aio.Channel,
        issuer: GrantIssuer,
        recorder: UsageRecorder,
        engine: TextEngine | None = None,
        router_address: str = "",
    ) -> None:
        self.router_address = router_address
        self.issuer = issuer
        self.recorder = recorder
        self._engine = engine
        self.stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
        self.openai: Any = text_pb2_grpc.TextServiceStub(channel)

    @property
    def engine(self) -> TextEngine:
        """The engine itself, where it runs in this process."""
        assert self._engine is not None
        return self._engine

    def call(self, request: GenerateRequest, *, timeout: float = 30, **grant: Any) -> Any:
        grant.setdefault("models", [request.model])
        grant.setdefault("prices", PRICES)
        metadata = self.issuer.metadata(f"{SERVICE}/Generate", **grant)
        return self.stub.Generate(request, metadata=metadata, timeout=timeout)

    async def generate(self, request: GenerateRequest, **grant: Any) -> Answer:
        answer = Answer()
        call = self.call(request, **grant)
        async for response in call:
            answer.add(response)
        answer.trailers = {key: value for key, value in await call.trailing_metadata() if isinstance(value, str)}
        return answer

    async def refused(self, request: GenerateRequest, **grant: Any) -> ServiceError:
        try:
            await self.generate(request, **grant)
        except grpc.aio.AioRpcError as error:
            read = from_rpc_error(error)
            assert read is not None, f"an error without a reason: {error.code()} {error.details()}"
            assert read.code == error.code()
            return read
        raise AssertionError("the call was served")

    async def unary(self, method: str, request: Any, **grant: Any) -> Any:
        grant.setdefault("prices", PRICES)
        metadata = self.issuer.metadata(f"{SERVICE}/{method}", **grant)
        try:
            return await getattr(self.stub, method)(request, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError as error:
            read = from_rpc_error(error)
            assert read is not None, f"an error without a reason: {error.code()} {error.details()}"
            raise read from None

    async def records(self, count: int) -> list[UsageRecord]:
        await self.recorder.wait_until(lambda recorder: len(recorder.settled) >= count)
        return list(self.recorder.settled.values())

    def busy(self) -> int:
        return sum(served.slots.active for served in self.engine.models.all)


def amounts(record: UsageRecord) -> dict[int, int]:
    return {unit.unit: unit.amount for unit in record.usage.units}


@contextlib.asynccontextmanager
async def running_engine(
    models: Iterable[CatalogModel],
    *,
    directory: Path,
    backends: Iterable[TextBackend] = (),
    queue: int = 64,
    settings: LoadingSettings | None = None,
    issuer: GrantIssuer | None = None,
) -> AsyncIterator[EngineClient]:
    """Serve the models until the block ends, to grants of its own issuer or of one shared with other engines."""
    issuer = issuer or GrantIssuer()
    recorder = UsageRecorder(keys=issuer.keys)
    router = grpc.aio.server()
    recorder.add_to(router)
    port = router.add_insecure_port("127.0.0.1:0")
    await router.start()
    available = [LlamaCppBackend(models_dir=directory / "models"), *backends]
    served = await serve_models(
        Catalog(models),
        cluster=CLUSTER,
        backends=available,
        settings=settings or LoadingSettings(queue_per_model=queue),
    )
    spool = Spool(directory=directory / "spool", engine_id="engine-test")
    reporter = UsageReporter(spool=spool, router_address=f"127.0.0.1:{port}")
    extensions = GrantExtensions()
    calls = Calls(keys=issuer.keys, spool=spool, extensions=extensions)
    engine = TextEngine(models=served, resume_tokens=ResumeTokens(keys=issuer.keys))
    generation = GenerationServicer(engine=engine, answering=engine, calls=calls)
    openai = TextServicer(engine=engine, accept=lambda context: calls.accept(context, served_models=served.names))
    server = EngineServer(
        listen="127.0.0.1:0",
        services=[
            lambda to: generation_pb2_grpc.add_GenerationServiceServicer_to_server(generation, to),
            lambda to: text_pb2_grpc.add_TextServiceServicer_to_server(openai, to),
        ],
        reporter=reporter,
        spool=spool,
        drain_s=2.0,
        flush_s=2.0,
    )
    address = await server.start()
    channel = grpc.aio.insecure_channel(str(address))
    try:
        yield EngineClient(
            channel=channel, issuer=issuer, recorder=recorder, engine=engine, router_address=f"127.0.0.1:{port}"
        )
    finally:
        await extensions.close()
        await channel.close()
        await server.drain()
        await served.close()
        await router.stop(None)


DEFAULT_CATALOG = Path(inference.__file__).with_name("catalog.yaml")


def write_config(directory: Path, *, port: int, **changes: Any) -> Path:
    """A configuration file for the engine as a process; `port` is the router's and the gateway's."""
    section = {
        "engine_id": "inference-1",
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "gateway_address": f"127.0.0.1:{port}",
        "router_address": f"127.0.0.1:{port}",
        "spool_dir": str(directory / "spool"),
        "grant_keys_file": str(directory / "grant.keys"),
        "catalog_file": str(DEFAULT_CATALOG),
        "models_dir": str(directory / "models"),
    }
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump({"inference": section | changes}))
    return path


def catalog_entry(base: str = "enginehouse-tiny", /, **changes: Any) -> dict[str, Any]:
    """A model's entry in the default catalog, changed."""
    models: list[dict[str, Any]] = yaml.safe_load(DEFAULT_CATALOG.read_text())["models"]
    return next(model for model in models if model["name"] == base) | changes
