"""Finished answers reach the router that the grant names, after the client; unfinished ones never do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.common.v1.usage_pb2 import UNIT_OUTPUT_TOKENS
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import cache_pb2, cache_pb2_grpc, grant_pb2
from enginehouse.kit.answers import AnswerSender, KeepingEngine
from enginehouse.kit.calls import Call, Calls
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GRANT_HEADER, authenticate, sign
from enginehouse.kit.testing import GrantIssuer
from enginehouse.kit.usage import Spool

GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
EMBED = "/enginehouse.api.inference.v1.GenerationService/Embed"
STOP = generation_pb2.FINISH_REASON_STOP
DEADLINE_S = 60

Delta = generation_pb2.ChoiceDelta


class Scripted:
    """A text engine that makes what a test wrote down."""

    def __init__(self) -> None:
        self.deltas: list[list[Delta]] = [[Delta(text="Hel", token_count=1)], [Delta(text="lo", finish_reason=STOP)]]
        self.error: Exception | None = None
        self.hang = False

    async def generate(self, request: Any, call: Any) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        for deltas in self.deltas[:-1]:
            yield generation_pb2.GenerateResponse(deltas=deltas)
        if self.hang:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        last = generation_pb2.GenerateResponse(deltas=self.deltas[-1])
        last.summary.usage.units.add(unit=UNIT_OUTPUT_TOKENS, amount=2)
        yield last

    async def embed(self, request: Any, call: Any) -> generation_pb2.EmbedResponse:
        if self.error is not None:
            raise self.error
        return generation_pb2.EmbedResponse(model=call.model, embeddings=[generation_pb2.Embedding(values=[0.6, 0.8])])


class Servicer(generation_pb2_grpc.GenerationServiceServicer):
    def __init__(self, calls: Calls, engine: Any) -> None:
        self._calls = calls
        self._engine = engine

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[generation_pb2.GenerateResponse]:
        async with self._calls.accept(context, served_models={"m", "n"}) as call:
            async for response in self._engine.generate(request, call):
                yield response

    async def Embed(self, request: Any, context: Any) -> generation_pb2.EmbedResponse:
        async with self._calls.accept(context, served_models={"m"}) as call:
            answer: generation_pb2.EmbedResponse = await self._engine.embed(request, call)
            return answer

    async def Tokenize(self, request: Any, context: Any) -> generation_pb2.TokenizeResponse:
        raise NotImplementedError

    async def ListModels(self, request: Any, context: Any) -> generation_pb2.ListModelsResponse:
        raise NotImplementedError


class Router(cache_pb2_grpc.AnswerServiceServicer):
    """A service that records answers."""

    def __init__(self) -> None:
        self.handed: asyncio.Queue[cache_pb2.StoreRequest] = asyncio.Queue()
        self.stuck = False

    async def Store(self, request: cache_pb2.StoreRequest, context: Any) -> cache_pb2.StoreResponse:
        if self.stuck:
            await asyncio.Event().wait()
        self.handed.put_nowait(request)
        return cache_pb2.StoreResponse(kept=True)

    async def next(self) -> cache_pb2.StoreRequest:
        async with asyncio.timeout(DEADLINE_S):
            return await self.handed.get()


class World:
    def __init__(self, issuer: GrantIssuer, router: Router, address: str) -> None:
        self.issuer = issuer
        self.router = router
        self.router_address = address
        self.engine = Scripted()
        self.stub: Any = None

    def grant(self, *, method: str = GENERATE, max_bytes: int = 10_000, models: tuple[str, ...] = ("m",)) -> Any:
        grant = self.issuer.grant(method, models=models)
        keep = grant_pb2.AnswerKeep(key=b"k" * 32, address=self.router_address, most_bytes=max_bytes, keep_ms=1000)
        grant.keep.CopyFrom(keep)
        return grant

    def generate(self, grant: grant_pb2.Grant, **request: Any) -> Any:
        asked = generation_pb2.GenerateRequest(prompt="x", **request)
        return self.stub.Generate(asked, metadata=((GRANT_HEADER, sign(grant, keys=self.issuer.keys)),), timeout=30)


@pytest.fixture
async def world(issuer: GrantIssuer, serve: Any, open_spool: Callable[..., Spool]) -> AsyncIterator[World]:
    router = Router()
    _, address = await serve(partial(cache_pb2_grpc.add_AnswerServiceServicer_to_server, router))
    made = World(issuer, router, str(address))
    sender = AnswerSender(timeout_s=DEADLINE_S)
    keeping: KeepingEngine[Call] = KeepingEngine(engine=made.engine, sender=sender)
    servicer = Servicer(Calls(keys=issuer.keys, spool=open_spool()), keeping)
    _, engine = await serve(partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, servicer))
    async with grpc.aio.insecure_channel(str(engine)) as channel:
        made.stub = generation_pb2_grpc.GenerationServiceStub(channel)
        yield made
    await sender.close(timeout_s=0.1)


async def test_a_finished_answer_is_handed_over_with_its_grant(world: World) -> None:
    grant = world.grant()
    messages = [message async for message in world.generate(grant)]
    assert [delta.text for message in messages for delta in message.deltas] == ["Hel", "lo"]
    handed = await world.router.next()
    assert authenticate(handed.grant, keys=world.issuer.keys) == grant
    answer = handed.answer.generated
    assert answer.model == "m"
    assert [(delta.text, delta.finish_reason, delta.token_count) for delta in answer.deltas] == [("Hello", STOP, 1)]
    assert answer.usage.units[0].amount == 2


async def test_vectors_are_handed_over(world: World) -> None:
    grant = world.grant(method=EMBED)
    metadata = ((GRANT_HEADER, sign(grant, keys=world.issuer.keys)),)
    await world.stub.Embed(generation_pb2.EmbedRequest(inputs=["a"]), metadata=metadata, timeout=30)
    assert (await world.router.next()).answer.embedded.embeddings[0].values == pytest.approx([0.6, 0.8])
    world.engine.error = ServiceError(Reason.ENGINE_BUSY, "busy")
    with pytest.raises(grpc.aio.AioRpcError):
        metadata = ((GRANT_HEADER, sign(world.grant(method=EMBED), keys=world.issuer.keys)),)
        await world.stub.Embed(generation_pb2.EmbedRequest(inputs=["a"]), metadata=metadata, timeout=30)
    assert not (await world.router.next()).HasField("answer")


@pytest.mark.parametrize(
    ("deltas", "request_", "max_bytes", "models"),
    [
        ([[Delta(text="a")], [Delta(text="b")]], {}, 10_000, ("m",)),
        ([[Delta(text="a", finish_reason=STOP)], [Delta(index=1, text="b")]], {"choices": 2}, 10_000, ("m",)),
        (
            [[Delta(finish_reason=generation_pb2.FINISH_REASON_LENGTH, stopped_by=generation_pb2.STOPPED_BY_BUDGET)]],
            {},
            10_000,
            ("m",),
        ),
        ([[Delta(text="x" * 3000)], [Delta(text="b", finish_reason=STOP)]], {}, 2000, ("m",)),
        ([[Delta(text="a", finish_reason=STOP)]], {}, 10_000, ("not served here", "m")),
    ],
    ids=["no end", "one choice of two", "budget", "too large", "another model stepped in"],
)
async def test_what_is_no_whole_answer_is_not_handed_over(
    world: World, deltas: list[list[Delta]], request_: dict[str, Any], max_bytes: int, models: tuple[str, ...]
) -> None:
    world.engine.deltas = deltas
    call = world.generate(world.grant(max_bytes=max_bytes, models=models), **request_)
    assert [message async for message in call]
    assert not (await world.router.next()).HasField("answer")


async def test_an_engine_that_fails_midway_hands_nothing_over(world: World) -> None:
    world.engine.error = ServiceError(Reason.BACKEND_FAILED, "the runtime died")
    with pytest.raises(grpc.aio.AioRpcError):
        _ = [message async for message in world.generate(world.grant())]
    assert not (await world.router.next()).HasField("answer")


async def test_a_reader_who_leaves_has_no_answer_to_keep(world: World) -> None:
    world.engine.hang = True
    call = world.generate(world.grant())
    assert (await call.read()).deltas[0].text == "Hel"
    call.cancel()
    assert not (await world.router.next()).HasField("answer")


async def test_a_router_that_is_away_or_stuck_holds_nobody_up(world: World) -> None:
    world.router.stuck = True
    for address in (world.router_address, "127.0.0.1:1", "nonsense"):
        grant = world.grant()
        grant.keep.address = address
        for _ in range(10):
            grant.grant_id += "x"
            assert len([message async for message in world.generate(grant)]) == 2


async def test_what_no_grant_asks_to_keep_is_not_handed_over(world: World) -> None:
    plain = world.issuer.grant(GENERATE, models=("m",))
    assert len([message async for message in world.generate(plain)]) == 2
    grant = world.grant()
    assert len([message async for message in world.generate(grant)]) == 2
    assert authenticate((await world.router.next()).grant, keys=world.issuer.keys).grant_id == grant.grant_id
    assert world.router.handed.empty()


async def test_what_waits_to_be_sent_is_bounded() -> None:
    sender = AnswerSender(max_pending_bytes=1000, timeout_s=0.1)
    large = cache_pb2.StoreRequest(grant="g" * 600)
    sender.offer("127.0.0.1:1", large)
    sender.offer("127.0.0.1:1", large)
    assert sender.dropped == 1
    await sender.close(timeout_s=0.2)


DELTAS = st.lists(
    st.builds(
        Delta,
        index=st.integers(0, 2),
        text=st.text(max_size=300),
        reasoning=st.text(max_size=5),
        token_count=st.integers(0, 5),
        token_ids=st.lists(st.integers(0, 9), max_size=2),
        receipt=st.binary(max_size=3),
        tool_calls=st.lists(
            st.builds(generation_pb2.ToolCallDelta, index=st.integers(0, 2), arguments=st.text(max_size=5)), max_size=2
        ),
        logprobs=st.lists(st.builds(generation_pb2.TokenLogprob, token=st.text(max_size=3)), max_size=2),
    ),
    max_size=12,
)


@given(DELTAS)
def test_joined_pieces_are_the_same_answer(deltas: list[Delta]) -> None:
    ends = [Delta(index=index, finish_reason=STOP) for index in range(3)]
    made = [*deltas, *ends]

    async def answer() -> cache_pb2.Answer:
        engine = Scripted()
        engine.deltas = [[delta] for delta in made]
        taken: list[cache_pb2.StoreRequest] = []

        class Sender(AnswerSender):
            def offer(self, address: str, request: cache_pb2.StoreRequest) -> None:
                taken.append(request)

        class Held:
            request_id = "r"
            model = "m"
            grant = grant_pb2.Grant(candidates=[grant_pb2.GrantCandidate(model="m")])

        Held.grant.keep.most_bytes = 1 << 20
        keeping: KeepingEngine[Held] = KeepingEngine(engine=engine, sender=Sender())
        request = generation_pb2.GenerateRequest(choices=3)
        async for _ in keeping.generate(request, Held()):
            pass
        return taken[0].answer

    kept = asyncio.run(answer()).generated.deltas
    assert len(kept) <= len(made)
    for index in range(3):
        one = [delta for delta in made if delta.index == index]
        other = [delta for delta in kept if delta.index == index]
        assert "".join(delta.text for delta in other) == "".join(delta.text for delta in one)
        assert "".join(delta.reasoning for delta in other) == "".join(delta.reasoning for delta in one)
        assert sum(delta.token_count for delta in other) == sum(delta.token_count for delta in one)
        assert [call for delta in other for call in delta.tool_calls] == [
            call for delta in one for call in delta.tool_calls
        ]
        assert [p for delta in other for p in delta.logprobs] == [p for delta in one for p in delta.logprobs]
        assert [delta.finish_reason for delta in other][-1] == STOP
    assert not any(delta.token_ids or delta.receipt for delta in kept)
