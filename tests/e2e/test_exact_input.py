"""Budgets that can pay what a prompt costs by its tokens, but not what it would cost if every byte were a token."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import httpx
import pytest

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.kit.errors import Reason, from_rpc_error
from tests.mesh import Mesh

MODEL = "enginehouse-tiny"


@pytest.fixture(scope="module")
def counting() -> Iterator[Mesh]:
    """A mesh that counts prompts, as it does by default; with time for engines on a machine that is busy otherwise."""
    with Mesh.started(config={"router": {"count_tokens_s": 2}}) as running:
        yield running


def story() -> str:
    """Return a text that no engine has read before."""
    return f"{time.time_ns()} " + "the little dog went to the big park and played with the red ball. " * 8


def request_for(text: str) -> generation_pb2.GenerateRequest:
    message = generation_pb2.Message(role=generation_pb2.ROLE_USER, content=text)
    return generation_pb2.GenerateRequest(model=MODEL, messages=[message], max_output_tokens=2)


async def cost_of(mesh: Mesh, key: str, request: generation_pb2.GenerateRequest) -> tuple[int, int]:
    """Return what a generation cost, in nano-dollars, and how many prompt tokens it read."""
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        stub: generation_pb2_grpc.GenerationServiceAsyncStub = generation_pb2_grpc.GenerationServiceStub(channel)
        async for message in stub.Generate(request, metadata=(("authorization", f"Bearer {key}"),), timeout=60):
            if message.HasField("summary"):
                usage = message.summary.usage
                read = sum(
                    unit.amount
                    for unit in usage.units
                    if unit.unit in (usage_pb2.UNIT_INPUT_TOKENS, usage_pb2.UNIT_CACHED_INPUT_TOKENS)
                )
                return usage.cost_nanos, read
    raise AssertionError("no summary")


async def test_a_budget_that_pays_for_the_tokens_serves(counting: Mesh) -> None:
    # Two tokens of answer, so that the whole bound is spent.
    cost, _ = await cost_of(counting, counting.key, request_for(story()))
    _, key = counting.create_key("exact", budget_nanos=cost)
    text = story()
    spent, _ = await cost_of(counting, key, request_for(text))
    assert 0 < spent <= cost


async def test_a_budget_that_pays_for_the_tokens_of_an_openai_chat_serves(counting: Mesh) -> None:
    cost, _ = await cost_of(counting, counting.key, request_for(story()))
    _, key = counting.create_key("exact-chat", budget_nanos=cost)
    body = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": story()}]}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        answer = await client.post(f"{counting.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 2


async def test_a_budget_that_does_not_pay_for_the_tokens_refuses(counting: Mesh) -> None:
    cost, _ = await cost_of(counting, counting.key, request_for(story()))
    _, key = counting.create_key("short", budget_nanos=cost // 2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await cost_of(counting, key, request_for(story()))
    told = from_rpc_error(refused.value)
    assert told is not None
    assert told.reason is Reason.BUDGET_EXHAUSTED


async def test_a_caller_may_count_a_prompt_for_nothing(counting: Mesh) -> None:
    text = story()
    _, read = await cost_of(counting, counting.key, request_for(text))
    body = {"generate": {"model": MODEL, "messages": [{"role": "ROLE_USER", "content": text}]}}
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {counting.key}"}, timeout=60) as client:
        answer = await client.post(f"{counting.url}/v1/count_tokens", json=body)
    assert answer.json() == {"input_tokens": read, "model": MODEL}


async def test_without_counting_the_bytes_are_held(mesh: Mesh) -> None:
    cost, _ = await cost_of(mesh, mesh.key, request_for(story()))
    _, key = mesh.create_key("bytes", budget_nanos=cost)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await cost_of(mesh, key, request_for(story()))
    told = from_rpc_error(refused.value)
    assert told is not None
    assert told.reason is Reason.BUDGET_EXHAUSTED
    assert int(told.metadata["needed_nanos"]) > 2 * cost
