"""A call that needs more than was reserved: answers that come late or out of order, and a grant that has run out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import pytest

from enginehouse.api.common.v1.usage_pb2 import UNIT_OUTPUT_TOKENS
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.addresses import Address
from enginehouse.kit.calls import Call, Calls
from enginehouse.kit.errors import STATUS_DETAILS_KEY, Reason, ServiceError, from_rpc_error, to_status
from enginehouse.kit.grants import peek
from enginehouse.kit.testing import GrantIssuer, UsageRecorder
from enginehouse.kit.usage import GrantExtensions, Spool, UsageReporter

TOKENIZE = "/enginehouse.api.inference.v1.GenerationService/Tokenize"
Work = Callable[[Call], Awaitable[None]]


class Router(UsageRecorder):
    """A router that answers the least need last, or that every grant has expired."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.expired = False
        self._answered = asyncio.Event()

    async def Extend(self, request: usage_pb2.ExtendRequest, context: Any) -> usage_pb2.ExtendResponse:
        if self.expired:
            error = ServiceError(Reason.GRANT_EXPIRED, "the grant expired 0.010 s ago")
            await context.abort(
                error.code, error.message, ((STATUS_DETAILS_KEY, to_status(error).SerializeToString()),)
            )
        if request.need_nanos < 100:
            await self._answered.wait()
        answer = await super().Extend(request, context)
        self._answered.set()
        return answer


class Engine(generation_pb2_grpc.GenerationServiceServicer):
    """Does a test's work in a call."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.work: Work | None = None

    async def Tokenize(self, request: Any, context: Any) -> generation_pb2.TokenizeResponse:
        async with self._calls.accept(context, served_models={"m"}) as call:
            assert self.work is not None
            await self.work(call)
        return generation_pb2.TokenizeResponse()


class World:
    def __init__(self, issuer: GrantIssuer, router: Router, engine: Engine, at: Address, router_at: Address) -> None:
        self.issuer, self.router, self.engine = issuer, router, engine
        self._router_address = str(router_at)
        self.channel = grpc.aio.insecure_channel(str(at))

    async def call(self, work: Work) -> None:
        """Do this in a call with 10 nano-dollars reserved, one for each token."""
        self.engine.work = work
        stub: Any = generation_pb2_grpc.GenerationServiceStub(self.channel)
        grant = {"models": ["m"], "prices": {UNIT_OUTPUT_TOKENS: 1_000_000}, "cap_nanos": 10}
        metadata = self.issuer.metadata(TOKENIZE, replica_address=self._router_address, **grant)
        await stub.Tokenize(generation_pb2.TokenizeRequest(), metadata=metadata, timeout=20)

    async def reported(self) -> usage_pb2.UsageRecord:
        await self.router.wait_until(lambda recorder: bool(recorder.settled))
        return self.router.received[0]


@pytest.fixture
async def world(issuer: GrantIssuer, serve: Any, open_spool: Callable[..., Spool]) -> AsyncIterator[World]:
    router = Router(keys=issuer.keys)
    _, router_at = await serve(router.add_to)
    spool, extensions = open_spool(), GrantExtensions()
    engine = Engine(Calls(keys=issuer.keys, spool=spool, extensions=extensions))
    _, at = await serve(
        partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, engine),
        reporter=UsageReporter(spool=spool, router_address=str(router_at)),
        spool=spool,
    )
    made = World(issuer, router, engine, at, router_at)
    yield made
    await extensions.close()
    await made.channel.close()


async def test_a_lower_answer_that_comes_late_lowers_nothing(world: World) -> None:
    found: list[bool] = []

    async def work(call: Call) -> None:
        found.extend(await asyncio.gather(*[call.reserve(UNIT_OUTPUT_TOKENS, tokens) for tokens in (50, 200)]))
        found.append(call.meter.take(UNIT_OUTPUT_TOKENS, 200) == 200)

    await world.call(work)
    assert found == [True] * 3
    record = await world.reported()
    assert record.usage.cost_nanos == 200
    assert peek(record.grant).candidates[0].cap_nanos >= 200
    assert record.outcome == usage_pb2.OUTCOME_COMPLETED


async def test_a_grant_that_has_run_out_is_not_told_as_a_budget(world: World) -> None:
    world.router.expired = True

    async def work(call: Call) -> None:
        await call.reserve(UNIT_OUTPUT_TOKENS, 50)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.call(work)
    error = from_rpc_error(caught.value)
    assert error is not None
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert (await world.reported()).usage.cost_nanos == 0
