"""The smallest engine that keeps the protocol: it repeats a word, and knows nothing of the kit.

The page `docs/engine-protocol.md` is all that it was written from; an engine in another language looks like it.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from enginehouse.api.common.v1 import usage_pb2 as units
from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.openai.v1 import text_pb2
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import GrantCandidate
from engines.kit.tests.conformance.minimal.errors import CallError
from engines.kit.tests.conformance.minimal.grants import Grants
from engines.kit.tests.conformance.minimal.lease import Lease
from engines.kit.tests.conformance.minimal.reports import Reporter
from engines.kit.tests.conformance.minimal.spool import Accepted, Spool, now_ms, price_numerator

MODEL = "minimal"
GENERATION = generation_pb2.DESCRIPTOR.services_by_name["GenerationService"].full_name
TEXT = text_pb2.DESCRIPTOR.services_by_name["TextService"].full_name
REFLECTION = "grpc.reflection.v1.ServerReflection"
MAX_MESSAGE_BYTES = 64 * 1024
INPUT, OUTPUT = units.UNIT_INPUT_TOKENS, units.UNIT_OUTPUT_TOKENS


class Engine(grpc.GenericRpcHandler):
    """Serves the methods as raw bytes, and every other method with an error."""

    word_s = 0.005
    left = usage_pb2.OUTCOME_CANCELLED

    def __init__(self, *, grants: Grants, spool: Spool) -> None:
        self.grants = grants
        self.spool = spool
        self.active = 0
        self.draining = False
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.methods = {
            f"/{GENERATION}/Generate": (generation_pb2.GenerateRequest, self.generate),
            f"/{GENERATION}/Embed": (generation_pb2.EmbedRequest, self.embed),
            f"/{GENERATION}/Tokenize": (generation_pb2.TokenizeRequest, self.tokenize),
            f"/{GENERATION}/CountTokens": (generation_pb2.CountTokensRequest, self.count_tokens),
            f"/{GENERATION}/ListModels": (generation_pb2.ListModelsRequest, self.list_models),
            f"/{TEXT}/CreateChatCompletion": (httpbody_pb2.HttpBody, self.chat),
            f"/{TEXT}/CreateCompletion": (httpbody_pb2.HttpBody, self.chat),
            f"/{TEXT}/CreateEmbedding": (httpbody_pb2.HttpBody, self.chat),
        }
        self.free = {f"/{GENERATION}/{name}" for name in ("Tokenize", "CountTokens", "ListModels")}

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if not method.startswith((f"/{GENERATION}/", f"/{TEXT}/")):
            return None

        async def handle(data: bytes, context: Any) -> None:
            try:
                await self.handle(method, data, context)
            except CallError as error:
                trailers = error.trailers(http_body=method.startswith(f"/{TEXT}/"))
                await context.abort(error.code, error.message, (*(context.trailing_metadata() or ()), *trailers))

        return grpc.unary_stream_rpc_method_handler(handle)

    async def handle(self, method: str, data: bytes, context: Any) -> None:
        if method not in self.methods:
            raise CallError("UNKNOWN_METHOD", f"{method} is not served")
        if self.draining:
            raise CallError("ENGINE_DRAINING", "shutting down")
        headers = dict(context.invocation_metadata())
        token = headers.get("x-enginehouse-grant", "")
        kind, work = self.methods[method]
        self.active += 1
        try:
            grant = self.grants.verify(token, method=method, now_ms=now_ms())
            request = self.parse(kind, data)
            model = "" if method in self.free else self.choose(grant, token)
            accepted = self.spool.accept(grant, token=token, model=model)
            await self.run(accepted, work(request, accepted), context)
        finally:
            self.active -= 1

    def parse(self, kind: Any, data: bytes) -> Any:
        self.check_size(data)
        try:
            return kind.FromString(data)
        except DecodeError:
            raise CallError("INVALID_REQUEST", "not a message") from None

    def check_size(self, data: bytes) -> None:
        if len(data) > MAX_MESSAGE_BYTES:
            raise CallError("REQUEST_TOO_LARGE", f"{len(data)} bytes")

    def choose(self, grant: Any, token: str) -> str:
        if not any(candidate.model == MODEL for candidate in grant.candidates):
            self.spool.finish(self.spool.accept(grant, token=token, model=""), usage_pb2.OUTCOME_REFUSED)
            raise CallError("NO_ENDPOINT", "no model of the grant is served")
        return MODEL

    async def run(self, accepted: Accepted, messages: AsyncIterator[Any], context: Any) -> None:
        outcome = self.left
        try:
            if len(accepted.grant.candidates) > 1:
                await context.send_initial_metadata(self.leading(accepted))
            async for message in messages:
                await context.write(message.SerializeToString())
            outcome = usage_pb2.OUTCOME_CAPPED if self.capped(accepted) else usage_pb2.OUTCOME_COMPLETED
            self.answered[accepted.model] += 1
        except CallError as error:
            outcome = self.outcome(error)
            raise
        finally:
            self.spool.finish(accepted, outcome)
            context.set_trailing_metadata((("x-enginehouse-cost-nanos", self.told_cost(accepted)),))

    def told_cost(self, accepted: Accepted) -> str:
        return str(accepted.cost_nanos)

    def told_usage(self, accepted: Accepted) -> units.Usage:
        return self.spool.record(accepted, usage_pb2.OUTCOME_COMPLETED).usage

    def leading(self, accepted: Accepted) -> tuple[tuple[str, str], ...]:
        return (("x-enginehouse-model", accepted.model),)

    def outcome(self, error: CallError) -> usage_pb2.Outcome.ValueType:
        return usage_pb2.OUTCOME_CAPPED if error.reason == "BUDGET_EXHAUSTED" else usage_pb2.OUTCOME_FAILED

    def capped(self, accepted: Accepted) -> bool:
        return bool(getattr(accepted, "stopped", False))

    def take(self, accepted: Accepted, unit: int, amount: int) -> bool:
        """Count the units, on disk, if the cap and the time allow them."""
        candidate = accepted.candidate
        assert candidate is not None
        spent = price_numerator(candidate, {**accepted.amounts, unit: accepted.amounts.get(unit, 0) + amount})
        if not self.affords(candidate, spent) or self.expired(accepted):
            accepted.stopped = True  # type: ignore[attr-defined]
            return False
        self.spool.count(accepted, unit, amount)
        return True

    def affords(self, candidate: GrantCandidate, numerator: int) -> bool:
        return numerator <= candidate.cap_nanos * 1_000_000

    def expired(self, accepted: Accepted) -> bool:
        return now_ms() >= accepted.grant.expires_at_ms

    def add(self, accepted: Accepted, unit: int, amount: int) -> None:
        if not self.take(accepted, unit, amount):
            raise CallError("BUDGET_EXHAUSTED", "the cap does not pay for it")

    async def generate(self, request: Any, accepted: Accepted) -> AsyncIterator[Any]:
        if not request.prompt:
            raise CallError("INVALID_REQUEST", "prompt: is empty", field="prompt")
        self.add(accepted, INPUT, len(request.prompt.split()))
        for _ in range(request.max_output_tokens or 8):
            if not self.take(accepted, OUTPUT, 1):
                break
            accepted.first_output_ms = accepted.first_output_ms or max(1, now_ms() - accepted.started_ms)
            response = generation_pb2.GenerateResponse(model=MODEL)
            response.deltas.add(text="word ", token_count=1)
            yield response
            await asyncio.sleep(self.word_s)
        last = generation_pb2.GenerateResponse()
        last.summary.usage.CopyFrom(self.told_usage(accepted))
        yield last

    async def embed(self, request: Any, accepted: Accepted) -> AsyncIterator[Any]:
        if not request.inputs:
            raise CallError("INVALID_REQUEST", "inputs: is empty", field="inputs")
        self.add(accepted, INPUT, sum(len(text.split()) for text in request.inputs))
        response = generation_pb2.EmbedResponse(model=MODEL)
        response.embeddings.add(values=[1.0])
        response.usage.CopyFrom(self.told_usage(accepted))
        yield response

    async def tokenize(self, request: Any, accepted: Accepted) -> AsyncIterator[Any]:
        if not request.text:
            raise CallError("INVALID_REQUEST", "text: is empty", field="text")
        yield generation_pb2.TokenizeResponse(token_ids=[len(word) for word in request.text.split()])

    async def count_tokens(self, request: Any, accepted: Accepted) -> AsyncIterator[Any]:
        if not request.generate.prompt:
            raise CallError("INVALID_REQUEST", "generate.prompt: is empty", field="generate.prompt")
        words = request.generate.prompt.split()
        yield generation_pb2.CountTokensResponse(input_tokens=len(words), model=MODEL)

    async def list_models(self, request: Any, accepted: Accepted) -> AsyncIterator[Any]:
        yield generation_pb2.ListModelsResponse(models=[generation_pb2.Model(name=MODEL)])

    async def chat(self, request: Any, accepted: Accepted) -> AsyncIterator[Any]:
        try:
            content = json.loads(request.data)["messages"][0]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise CallError("INVALID_REQUEST", "the body has no messages") from None
        self.add(accepted, INPUT, len(content.split()))
        body = {"choices": [{"message": {"role": "assistant", "content": "word"}}]}
        yield httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(body).encode())

    def load(self) -> registry_pb2.Load:
        tally = registry_pb2.ModelTally(model=MODEL, answered=self.answered[MODEL], failed=self.failed[MODEL])
        return registry_pb2.Load(active=self.active, tallies=[tally])

    async def begin_health(self, servicer: HealthServicer) -> None:
        for name in ("", GENERATION, TEXT):
            await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)

    def described(self) -> list[str]:
        """The services that reflection lists."""
        return [GENERATION, TEXT, REFLECTION]

    def registration(self, *, engine_id: str, address: str) -> registry_pb2.Engine:
        return registry_pb2.Engine(
            engine_id=engine_id,
            cluster="inference",
            address=address,
            grpc_services=[GENERATION, TEXT],
            models=[registry_pb2.ServedModel(name=MODEL, capabilities=["chat"])],
            capacity=8,
            version="1",
        )

    async def drain(self, lease: Lease, health: HealthServicer) -> None:
        """End in order: the lease, new calls, the calls that run."""
        await self.end_lease(lease)
        self.refuse_new()
        await self.end_health(health)
        await self.wait_until_idle()

    async def end_lease(self, lease: Lease) -> None:
        lease.closing.set()
        await asyncio.sleep(0.1)

    def refuse_new(self) -> None:
        self.draining = True

    async def end_health(self, health: HealthServicer) -> None:
        await health.enter_graceful_shutdown()

    async def wait_until_idle(self) -> None:
        while self.active:
            await asyncio.sleep(0.01)


async def serve(*, listen: str, router: str, gateway: str, keys: Path, spool: Path, engine_id: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    kept = Spool(spool, engine_id=engine_id)
    engine = Engine(grants=Grants(keys), spool=kept)
    limit = ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES * 2)
    server = grpc.aio.server(options=(limit, ("grpc.so_reuseport", 0)))
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection = ReflectionServicer(engine.described())
    v1 = grpc.stream_stream_rpc_method_handler(
        reflection.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(REFLECTION, {"ServerReflectionInfo": v1}), engine)
    )
    server.add_insecure_port(listen)
    await server.start()
    await engine.begin_health(health)
    reporter = Reporter(kept, router)
    lease = Lease(gateway, engine.registration(engine_id=engine_id, address=listen), engine.load)
    tasks = [asyncio.create_task(reporter.run()), asyncio.create_task(lease.run())]
    await ended.wait()
    await engine.drain(lease, health)
    await server.stop(0.2)
    await reporter.flush()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
