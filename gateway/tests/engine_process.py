"""A small real engine for the gateway's tests: registers as an engine does, and does as its requests say.

Run as `python engine_process.py GATEWAY ENGINE_ID`; prints its address once it has registered, and serves until killed.
With `-` for the gateway it does not register.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.api import httpbody_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.kit.errors import STATUS_DETAILS_KEY, Reason, ServiceError, to_status
from enginehouse.kit.openai.errors import error_metadata
from enginehouse.kit.server.registry import RegistryLease


def delta(text: str) -> generation_pb2.GenerateResponse:
    return generation_pb2.GenerateResponse(deltas=[generation_pb2.ChoiceDelta(text=text)])


async def abort(context: Any, error: ServiceError, *, openai: bool = False) -> None:
    trailers: list[Any] = [(STATUS_DETAILS_KEY, to_status(error).SerializeToString())]
    if openai:
        trailers.append(error_metadata(error))
    await context.abort(error.code, error.message, tuple(trailers))


class Generation(generation_pb2_grpc.GenerationServiceServicer):
    async def Generate(self, request: Any, context: Any) -> AsyncIterator[generation_pb2.GenerateResponse]:
        mode, _, argument = request.prompt.partition(":")
        if mode == "metadata":
            pairs = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            yield delta(json.dumps(pairs))
        elif mode == "stream":
            for number in range(int(argument)):
                yield delta(f"{number} ")
                await asyncio.sleep(0.05)
        elif mode == "fail":
            await abort(context, ServiceError(Reason.UNKNOWN_MODEL, "no model 'nope'; try 'yes'"))
        elif mode == "hang":
            await asyncio.sleep(3600)
        else:
            yield delta(str(os.getpid()))

    def __init__(self) -> None:
        self.seen: set[str] = set()

    async def Tokenize(self, request: Any, context: Any) -> generation_pb2.TokenizeResponse:
        request_id = dict(context.invocation_metadata())["x-enginehouse-request-id"]
        if request_id.startswith("once-") and request_id in self.seen:
            await abort(context, ServiceError(Reason.GRANT_REPLAYED, "used before"))
        self.seen.add(request_id)
        mode, _, argument = request.text.partition(":")
        if mode == "unavailable" and argument in ("", str(os.getpid())):
            await asyncio.sleep(0.02)
            await abort(context, ServiceError(Reason.UPSTREAM_FAILED, "the provider is away"))
        if mode == "unavailable-after":
            await asyncio.sleep(float(argument))
            await abort(context, ServiceError(Reason.UPSTREAM_FAILED, "the provider is away"))
        if mode == "busy" and str(os.getpid()) != argument:
            await abort(context, ServiceError(Reason.ENGINE_BUSY, "the queue is full", retry_after_s=2))
        if request.text.startswith("slow"):
            await asyncio.sleep(0.05)
        return generation_pb2.TokenizeResponse(token_ids=[os.getpid()])


class Text(text_pb2_grpc.TextServiceServicer):
    async def CreateChatCompletion(self, request: Any, context: Any) -> AsyncIterator[httpbody_pb2.HttpBody]:
        body = json.loads(request.data)
        if body.get("mode") == "loaded":
            await context.send_initial_metadata((("x-enginehouse-load-ms", "1250"),))
        if body.get("mode") == "fail":
            error = ServiceError(Reason.CONTEXT_LENGTH_EXCEEDED, 'too long: "ü" {} %20 ' + "x" * 300)
            await abort(context, error, openai=True)
        elif body.get("stream"):
            for number in range(5):
                data = b'data: {"n": %d}\n\n' % number
                yield httpbody_pb2.HttpBody(content_type="text/event-stream", data=data)
                await asyncio.sleep(0.1)
            yield httpbody_pb2.HttpBody(content_type="text/event-stream", data=b"data: [DONE]\n\n")
        else:
            answer = json.dumps({"received": len(request.data), "object": "chat.completion"}).encode()
            yield httpbody_pb2.HttpBody(content_type="application/json", data=answer)

    async def CreateEmbedding(self, request: Any, context: Any) -> httpbody_pb2.HttpBody:
        error = ServiceError(Reason.ENGINE_BUSY, "the queue is full", retry_after_s=2)
        await abort(context, error, openai=True)
        return httpbody_pb2.HttpBody()


async def main(gateway: str, engine_id: str) -> None:
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 32 << 20),))
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(Generation(), server)
    text_pb2_grpc.add_TextServiceServicer_to_server(Text(), server)
    health = HealthServicer()
    await health.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    if gateway == "-":
        print(f"127.0.0.1:{port}", flush=True)
        await server.wait_for_termination()
    lease = RegistryLease(
        gateway_address=gateway,
        engine=registry_pb2.Engine(
            engine_id=engine_id,
            cluster="inference",
            address=f"127.0.0.1:{port}",
            grpc_services=[
                "enginehouse.api.inference.v1.GenerationService",
                "enginehouse.api.openai.v1.TextService",
            ],
            models=[registry_pb2.ServedModel(name="tiny")],
            capacity=4,
        ),
        load=registry_pb2.Load,
    )
    lease.start()
    await lease.registered.wait()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
