"""A granted call on a real server: who is served, what stops it, and that each end is reported once and exactly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import pytest

from enginehouse.api.common.v1.usage_pb2 import UNIT_INPUT_TOKENS, UNIT_OUTPUT_TOKENS
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.addresses import Address
from enginehouse.kit.calls import Call, Calls
from enginehouse.kit.calls.trailers import COST_TRAILER
from enginehouse.kit.errors import Reason, ServiceError, from_rpc_error
from enginehouse.kit.grants import GRANT_HEADER, sign
from enginehouse.kit.testing import GrantIssuer, UsageRecorder
from enginehouse.kit.usage import Spool, UsageReporter

SERVICE = "/enginehouse.api.inference.v1.GenerationService/"
GENERATE, TOKENIZE = SERVICE + "Generate", SERVICE + "Tokenize"
PRICES = {UNIT_INPUT_TOKENS: 1_000_000, UNIT_OUTPUT_TOKENS: 2_000_000}

Body = Callable[[Call, generation_pb2.GenerateRequest], AsyncIterator[generation_pb2.GenerateResponse]]


class Engine(generation_pb2_grpc.GenerationServiceServicer):
    """A service that counts a token for each message; each test adds its own behaviour."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.ended = asyncio.Event()
        self.hang = False
        self.fail: Exception | None = None
        self.failing: dict[str, ServiceError] = {}

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[generation_pb2.GenerateResponse]:
        try:
            async with self.calls.accept(context, served_models={"m", "n"}) as call:
                while (error := self.failing.get(call.model)) is not None:
                    if not call.fall_back(error, served={"m", "n"}):
                        raise error
                call.meter.add(UNIT_INPUT_TOKENS, len(request.prompt))
                for _ in range(request.max_output_tokens):
                    if not call.meter.take(UNIT_OUTPUT_TOKENS):
                        break
                    call.mark_first_output()
                    yield generation_pb2.GenerateResponse(request_id=call.request_id, model=call.model)
                if self.fail is not None:
                    raise self.fail
                if self.hang:
                    await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def Tokenize(self, request: Any, context: Any) -> generation_pb2.TokenizeResponse:
        async with self.calls.accept(context, served_models=None):
            return generation_pb2.TokenizeResponse(token_ids=[1])

    async def Embed(self, request: Any, context: Any) -> generation_pb2.EmbedResponse:
        raise NotImplementedError

    async def ListModels(self, request: Any, context: Any) -> generation_pb2.ListModelsResponse:
        raise NotImplementedError


class World:
    def __init__(self, issuer: GrantIssuer, recorder: UsageRecorder, engine: Engine, address: Address) -> None:
        self.issuer = issuer
        self.recorder = recorder
        self.engine = engine
        self.channel: Any = grpc.aio.insecure_channel(str(address))
        self.stub: generation_pb2_grpc.GenerationServiceAsyncStub = generation_pb2_grpc.GenerationServiceStub(
            self.channel
        )

    def generate(self, tokens: int = 3, *, timeout: float | None = 20, **grant: Any) -> Any:
        grant = {"models": ["m"], "prices": PRICES, **grant}
        return self.stub.Generate(
            generation_pb2.GenerateRequest(prompt="abc", max_output_tokens=tokens),
            metadata=self.issuer.metadata(GENERATE, **grant),
            timeout=timeout,
        )

    async def reported(self) -> usage_pb2.UsageRecord:
        """The one record that was reported."""
        await self.recorder.wait_until(lambda recorder: bool(recorder.settled))
        assert len(self.recorder.received) == 1
        return self.recorder.received[0]


def amounts(record: usage_pb2.UsageRecord) -> tuple[int, int]:
    found = {unit.unit: unit.amount for unit in record.usage.units}
    return found.get(UNIT_INPUT_TOKENS, 0), found.get(UNIT_OUTPUT_TOKENS, 0)


@pytest.fixture
async def world(
    issuer: GrantIssuer, recorder: UsageRecorder, serve: Any, open_spool: Callable[..., Spool]
) -> AsyncIterator[World]:
    _, router = await serve(recorder.add_to)
    spool = open_spool()
    engine = Engine(Calls(keys=issuer.keys, spool=spool, expiry_grace_s=0.2))
    _, address = await serve(
        partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, engine),
        reporter=UsageReporter(spool=spool, router_address=str(router)),
        spool=spool,
    )
    made = World(issuer, recorder, engine, address)
    yield made
    await made.channel.close()


async def refusal(call: Awaitable[Any]) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = from_rpc_error(caught.value)
    assert error is not None, caught.value
    assert error.code is caught.value.code()
    return error


async def drained(call: Any) -> list[generation_pb2.GenerateResponse]:
    return [message async for message in call]


async def test_a_whole_answer(world: World) -> None:
    call = world.generate(5, request_id="r-1")
    messages = await drained(call)
    assert [message.request_id for message in messages] == ["r-1"] * 5
    assert dict(await call.trailing_metadata())[COST_TRAILER] == "13"
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_COMPLETED
    assert amounts(record) == (3, 5)
    assert record.usage.cost_nanos == 13
    assert record.model == "m"
    assert record.time_to_first_token_ms >= 1
    assert record.ended_at_ms >= record.started_at_ms > 0


async def test_no_valid_grant_no_service(world: World) -> None:
    request = generation_pb2.TokenizeRequest()
    issuer = world.issuer
    assert (await refusal(world.stub.Tokenize(request))).reason is Reason.GRANT_MISSING
    for metadata, reason in (
        (issuer.metadata(GENERATE), Reason.GRANT_INVALID),
        (GrantIssuer().metadata(TOKENIZE), Reason.GRANT_INVALID),
        (issuer.metadata(TOKENIZE, accept_s=-0.001), Reason.GRANT_EXPIRED),
        (issuer.metadata(TOKENIZE, expires_s=-0.001), Reason.GRANT_EXPIRED),
        (issuer.metadata(TOKENIZE, issued_ago_s=40), Reason.GRANT_EXPIRED),
    ):
        assert (await refusal(world.stub.Tokenize(request, metadata=metadata))).reason is reason
    assert not world.recorder.received


async def test_a_grant_is_good_for_one_call(world: World) -> None:
    metadata = world.issuer.metadata(TOKENIZE)
    await world.stub.Tokenize(generation_pb2.TokenizeRequest(), metadata=metadata)
    error = await refusal(world.stub.Tokenize(generation_pb2.TokenizeRequest(), metadata=metadata))
    assert error.reason is Reason.GRANT_REPLAYED
    record = await world.reported()
    assert record.usage.cost_nanos == 0
    assert record.outcome == usage_pb2.OUTCOME_COMPLETED


async def test_a_grant_for_others_is_reported_as_refused(world: World) -> None:
    error = await refusal(drained(world.generate(models=["other"])))
    assert error.reason is Reason.NO_ENDPOINT
    assert "'other'" in error.message
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_REFUSED
    assert (record.model, record.usage.cost_nanos) == ("", 0)
    assert world.engine.calls.tallies() == []


async def test_the_first_candidate_that_is_served_serves_and_is_named(world: World) -> None:
    call = world.generate(models=["x", "n", "m"])
    messages = await drained(call)
    assert messages[0].model == "n"
    assert dict(await call.initial_metadata())["x-enginehouse-model"] == "n"
    assert (await world.reported()).model == "n"


async def test_the_router_names_the_only_candidate_itself(world: World) -> None:
    call = world.generate(models=["n"])
    await drained(call)
    assert "x-enginehouse-model" not in dict(await call.initial_metadata())


FAILED = ServiceError(Reason.UPSTREAM_FAILED, "the provider is away")


def priced(world: World, *models: tuple[str, int, int]) -> tuple[tuple[str, str], ...]:
    """A grant's metadata, with the output price and the cap of each model."""
    grant = world.issuer.grant(GENERATE)
    for name, price, cap in models:
        candidate = grant.candidates.add(model=name, cap_nanos=cap)
        candidate.prices.add(unit=UNIT_OUTPUT_TOKENS, nanos_per_million=price)
    return ((GRANT_HEADER, sign(grant, keys=world.issuer.keys)),)


async def test_the_next_model_takes_over_with_its_own_prices_and_cap(world: World) -> None:
    world.engine.failing = {"m": FAILED}
    metadata = priced(world, ("m", 7_000_000, 10**6), ("n", 3_000_000, 12))
    call = world.stub.Generate(generation_pb2.GenerateRequest(max_output_tokens=9), metadata=metadata, timeout=20)
    messages = await drained(call)
    assert [message.model for message in messages] == ["n"] * 4
    assert dict(await call.initial_metadata())["x-enginehouse-model"] == "n"
    assert dict(await call.trailing_metadata())[COST_TRAILER] == "12"
    record = await world.reported()
    assert (record.model, record.usage.cost_nanos) == ("n", 12)
    assert record.outcome == usage_pb2.OUTCOME_CAPPED
    tallies = {tally.model: (tally.answered, tally.failed) for tally in world.engine.calls.tallies()}
    assert tallies == {"m": (0, 1), "n": (1, 0)}


async def test_a_provider_that_is_busy_has_neither_answered_nor_failed(world: World) -> None:
    world.engine.failing = {"m": ServiceError(Reason.UPSTREAM_RATE_LIMITED, "later")}
    await drained(world.generate(models=["m", "n"]))
    assert (await world.reported()).model == "n"
    assert [(tally.model, tally.answered) for tally in world.engine.calls.tallies()] == [("n", 1)]


async def test_the_order_of_the_grant_is_kept(world: World) -> None:
    """The next model is elsewhere, so the gateway must find it; the one after it has to wait for its turn."""
    world.engine.failing = {"m": FAILED}
    error = await refusal(drained(world.generate(models=["m", "elsewhere", "n"])))
    assert error.reason is Reason.UPSTREAM_FAILED
    assert (await world.reported()).outcome == usage_pb2.OUTCOME_REFUSED


@pytest.mark.parametrize("reason", [Reason.INVALID_REQUEST, Reason.ENGINE_BUSY, Reason.INTERNAL])
async def test_another_model_does_not_mend_every_failure(world: World, reason: Reason) -> None:
    world.engine.failing = {"m": ServiceError(reason, "no")}
    error = await refusal(drained(world.generate(models=["m", "n"])))
    assert error.reason is reason
    record = await world.reported()
    carried_on = reason is Reason.ENGINE_BUSY
    assert record.outcome == (usage_pb2.OUTCOME_REFUSED if carried_on else usage_pb2.OUTCOME_FAILED)
    # What callers can bring about must not count against a model.
    assert [tally.failed for tally in world.engine.calls.tallies()] == ([1] if reason is Reason.INTERNAL else [])


async def test_nothing_takes_over_what_has_begun(world: World) -> None:
    world.engine.fail = FAILED
    call = world.generate(2, models=["m", "n"])
    assert (await anext(call.__aiter__())).model == "m"
    await refusal(drained(call))
    record = await world.reported()
    assert (record.model, record.outcome) == ("m", usage_pb2.OUTCOME_FAILED)
    assert amounts(record) == (3, 2)


async def test_the_cap_stops_it_to_the_token(world: World) -> None:
    call = world.generate(100, cap_nanos=12)
    assert len(await drained(call)) == 4
    assert dict(await call.trailing_metadata())[COST_TRAILER] == "11"
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_CAPPED
    assert amounts(record) == (3, 4)


async def test_a_prompt_over_the_cap_costs_nothing(world: World) -> None:
    error = await refusal(drained(world.generate(cap_nanos=2)))
    assert error.reason is Reason.BUDGET_EXHAUSTED
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_CAPPED
    assert record.usage.cost_nanos == 0


async def test_a_cancel_is_billed_for_what_was_counted(world: World) -> None:
    world.engine.hang = True
    call = world.generate(3)
    for _ in range(3):
        await call.read()
    call.cancel()
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_CANCELLED
    assert amounts(record) == (3, 3)
    await asyncio.wait_for(world.engine.ended.wait(), 5)


async def test_a_reader_that_stops_reading_and_leaves_unwinds_the_engine(world: World) -> None:
    call = world.generate(10_000_000)
    await call.read()
    call.cancel()
    await asyncio.wait_for(world.engine.ended.wait(), 5)
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_CANCELLED
    assert amounts(record)[1] < 10_000_000


async def test_a_callers_deadline(world: World) -> None:
    world.engine.hang = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drained(world.generate(2, timeout=0.3))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_CANCELLED
    assert amounts(record) == (3, 2)


async def test_a_connection_that_dies(world: World) -> None:
    world.engine.hang = True
    call = world.generate(1)
    await call.read()
    await world.channel.close()
    assert (await world.reported()).outcome == usage_pb2.OUTCOME_CANCELLED


async def test_the_grants_end_stops_the_spending(world: World) -> None:
    world.engine.hang = True
    error = await refusal(drained(world.generate(2, expires_s=0.2)))
    assert error.reason is Reason.DEADLINE_EXCEEDED
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_CAPPED
    assert amounts(record) == (3, 2)


async def test_an_error_of_the_engines_own(world: World) -> None:
    world.engine.fail = ServiceError(Reason.BACKEND_FAILED, "the model runtime failed", retry_after_s=0.5)
    call = world.generate(2)
    error = await refusal(drained(call))
    assert error.reason is Reason.BACKEND_FAILED
    assert error.retry_after_s == 0.5
    assert dict(await call.trailing_metadata())[COST_TRAILER] == "7"
    record = await world.reported()
    assert record.outcome == usage_pb2.OUTCOME_FAILED
    assert amounts(record) == (3, 2)


async def test_a_defect_tells_the_caller_nothing_of_itself(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.engine.fail = KeyError("hunter2")
    error = await refusal(drained(world.generate(1, request_id="r-77")))
    assert error.reason is Reason.INTERNAL
    assert "hunter2" not in error.message
    assert "r-77" in error.message
    assert "hunter2" in caplog.text
    assert (await world.reported()).outcome == usage_pb2.OUTCOME_FAILED


async def test_a_full_spool_refuses_as_unavailable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("enginehouse.kit.usage._spool.Spool._make_room", full)
    error = await refusal(drained(world.generate()))
    assert error.reason is Reason.LEDGER_UNAVAILABLE
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert error.retry_after_s == 1.0


async def test_malformed_messages_are_the_callers_fault(world: World) -> None:
    random_bytes = random.Random(5).randbytes
    bad = [b"\xff", b"\x0a\x05ab", b"\x0a\x02\xc3\x28", b"\x00", *(random_bytes(n) for n in range(1, 200))]
    valid = 0
    for method, is_stream in ((GENERATE, True), (TOKENIZE, False)):
        for body in bad:
            call: Any
            if is_stream:
                call = world.channel.unary_stream(method)(body)
                error = await refusal(drained(call))
            else:
                error = await refusal(world.channel.unary_unary(method)(body))
            # What happens to parse goes on and has no grant.
            valid += error.reason is Reason.GRANT_MISSING
            assert error.reason in (Reason.INVALID_REQUEST, Reason.GRANT_MISSING)
    assert valid < len(bad)
    assert len(await drained(world.generate(2))) == 2


async def test_a_request_too_large_is_refused_by_type(world: World) -> None:
    body = generation_pb2.TokenizeRequest(text="x" * ((16 << 20) + 10))
    error = await refusal(world.stub.Tokenize(body, metadata=world.issuer.metadata(TOKENIZE)))
    assert error.reason is Reason.REQUEST_TOO_LARGE
    assert str(16 << 20) in error.message


async def test_an_unknown_method(world: World) -> None:
    error = await refusal(world.channel.unary_unary("/nobody.Knows/This")(b""))
    assert error.reason is Reason.UNKNOWN_METHOD
    assert "GenerationService" in error.message


async def test_any_mixture_of_ends_is_reported_once_each(world: World) -> None:
    choose = random.Random(3)

    async def one(kind: str) -> None:
        call = world.generate(choose.randint(1, 30), cap_nanos=20 if kind == "capped" else 10**9)
        try:
            if kind == "cancel":
                await call.read()
                call.cancel()
            else:
                await drained(call)
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass

    kinds = [choose.choice(["whole", "capped", "cancel"]) for _ in range(120)]
    await asyncio.gather(*(one(kind) for kind in kinds))
    # A call that was cancelled before its grant was accepted has nothing to report.
    await world.recorder.wait_until(lambda recorder: len(recorder.settled) >= 120 - kinds.count("cancel"))
    async with asyncio.timeout(60):
        while world.engine.calls.active:
            await asyncio.sleep(0.01)
    # A second report of a call would come within this.
    await asyncio.sleep(0.1)
    assert len(world.recorder.received) == len(world.recorder.settled)
    for record in world.recorder.received:
        read, made = amounts(record)
        assert record.usage.cost_nanos == read + 2 * made
