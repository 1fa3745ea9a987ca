"""OpenAI's own client before the adapter, over a real gRPC server and an engine that says what a test wrote down."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx2
import openai
import pytest
from google.api import httpbody_pb2

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.kit.calls import Call, Calls
from enginehouse.kit.openai import TextServicer
from enginehouse.kit.testing import GrantIssuer

BODY_LIMIT = 1 << 20


@dataclass
class ScriptedEngine:
    """An engine that yields scripted messages, one script after the other, and raises an exception among them."""

    scripts: list[Sequence[generation_pb2.GenerateResponse | Exception]] = field(default_factory=list)
    embedding: generation_pb2.EmbedResponse | Exception | None = None
    asked: list[generation_pb2.GenerateRequest | generation_pb2.EmbedRequest] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(
        self, request: generation_pb2.GenerateRequest, call: Call
    ) -> AsyncIterator[generation_pb2.GenerateResponse]:
        script = self.scripts[sum(isinstance(request, generation_pb2.GenerateRequest) for request in self.asked)]
        self.asked.append(request)
        try:
            for message in script:
                if isinstance(message, Exception):
                    raise message
                yield message
        finally:
            self.closed.set()

    async def embed(self, request: generation_pb2.EmbedRequest, call: Call) -> generation_pb2.EmbedResponse:
        self.asked.append(request)
        if isinstance(self.embedding, Exception):
            raise self.embedding
        assert self.embedding is not None
        return self.embedding


METHODS = {
    "/v1/chat/completions": "CreateChatCompletion",
    "/v1/completions": "CreateCompletion",
    "/v1/embeddings": "CreateEmbedding",
}


class HttpBodyEdge(httpx2.AsyncBaseTransport):
    """The gateway's handling of HttpBody: the first message's type, all messages' bytes, the error's own answer."""

    def __init__(self, channel: grpc.aio.Channel, issuer: GrantIssuer) -> None:
        self._stub = text_pb2_grpc.TextServiceStub(channel)
        self._issuer = issuer
        self.messages: list[httpbody_pb2.HttpBody] = []
        self.status = grpc.StatusCode.OK
        self.trailers: dict[str, str | bytes] = {}

    def call(self, method: str, body: bytes) -> Any:
        """A call with a fresh grant for the request `req-1`."""
        full = f"/enginehouse.api.openai.v1.TextService/{method}"
        metadata = self._issuer.metadata(full, models=["tiny"], request_id="req-1")
        message = httpbody_pb2.HttpBody(content_type="application/json", data=body)
        return getattr(self._stub, method)(message, metadata=metadata)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        method = METHODS[request.url.path]
        call = self.call(method, await request.aread())
        self.messages = []
        try:
            if method == "CreateEmbedding":
                self.messages.append(await call)
            else:
                async for message in call:
                    self.messages.append(message)
        except grpc.aio.AioRpcError as error:
            self.status = error.code()
            # A stream that aborts after its first message is, over HTTP, a body that ends.
            if not self.messages:
                self.trailers = dict(error.trailing_metadata() or ())
                status, _, encoded = self.trailers["x-enginehouse-openai-error"].partition(";")
                return httpx2.Response(
                    int(status), content=base64.urlsafe_b64decode(encoded), headers={"content-type": "application/json"}
                )
        self.trailers = dict(await call.trailing_metadata())
        content = b"".join(message.data for message in self.messages)
        return httpx2.Response(200, content=content, headers={"content-type": self.messages[0].content_type})


@dataclass
class Bench:
    engine: ScriptedEngine
    edge: HttpBodyEdge
    client: openai.AsyncOpenAI

    async def post(self, path: str, body: bytes) -> httpx2.Response:
        return await self.edge.handle_async_request(httpx2.Request("POST", f"http://edge{path}", content=body))


@pytest.fixture
async def bench(issuer, serve, open_spool) -> AsyncIterator[Bench]:
    engine = ScriptedEngine()
    spool = open_spool()
    calls = Calls(keys=issuer.keys, spool=spool)
    servicer = TextServicer(
        engine=engine, accept=lambda context: calls.accept(context, served_models={"tiny"}), max_body_bytes=BODY_LIMIT
    )
    _, address = await serve(
        lambda server: text_pb2_grpc.add_TextServiceServicer_to_server(servicer, server), spool=spool
    )
    async with grpc.aio.insecure_channel(str(address)) as channel:
        edge = HttpBodyEdge(channel, issuer)
        http = httpx2.AsyncClient(transport=edge)
        async with openai.AsyncOpenAI(
            api_key="eh_test", base_url="http://edge/v1", http_client=http, max_retries=0
        ) as client:
            yield Bench(engine, edge, client)


Say = Callable[..., generation_pb2.GenerateResponse]


@pytest.fixture
def say() -> Say:
    """Build an engine message: `say("text", index=0, ...ChoiceDelta's fields)`."""

    def build(text: str = "", **delta: object) -> generation_pb2.GenerateResponse:
        return generation_pb2.GenerateResponse(model="tiny", deltas=[generation_pb2.ChoiceDelta(text=text, **delta)])

    return build


@pytest.fixture
def summary() -> Say:
    """Build an engine's last message: `summary(input, cached, output, cost)`."""

    def build(fresh: int = 7, cached: int = 0, output: int = 3, cost: int = 11) -> generation_pb2.GenerateResponse:
        message = generation_pb2.GenerateResponse()
        usage = message.summary.usage
        usage.cost_nanos = cost
        for unit, amount in ((1, fresh), (3, cached), (2, output)):
            usage.units.add(unit=unit, amount=amount)
        return message

    return build
