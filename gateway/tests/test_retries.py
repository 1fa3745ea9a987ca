"""Envoy's retries: as far as the router's endpoints go, and never a storm."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from typing import Any

import grpc
import pytest

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc

CALLS = 400
# Long enough for all calls to be there when the first one fails, on a loaded machine too: the budget is a share of the
# calls in flight, and calls that come one by one would spend it again and again.
FAILS_AFTER_S = 1.5


async def attempts(edge: Any, engines: list[Any]) -> int:
    """Return how many calls reached engines when as many as CALLS were made at once, and every engine failed each."""
    before = edge.stats("^cluster.inference.upstream_rq_total$")
    metadata = (
        ("authorization", "Bearer ok"),
        ("x-enginehouse-test-endpoints", ",".join(engine.address for engine in engines)),
    )
    async with grpc.aio.insecure_channel(edge.target) as channel:
        stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)
        request = generation_pb2.TokenizeRequest(text=f"unavailable-after:{FAILS_AFTER_S}")
        calls = [stub.Tokenize(request, metadata=metadata, timeout=60) for _ in range(CALLS)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {end.code() for end in ends if isinstance(end, grpc.aio.AioRpcError)} == {grpc.StatusCode.UNAVAILABLE}
    return int(edge.stats("^cluster.inference.upstream_rq_total$") - before)


@pytest.mark.parametrize(
    ("budget", "least", "most"),
    [
        # Every call at every engine: what would happen without a budget.
        ({"retry_percent": 100, "retry_concurrency": 10_000}, 3 * CALLS, 3 * CALLS),
        ({"retry_percent": 20, "retry_concurrency": 3}, CALLS, CALLS * 1.3),
    ],
)
async def test_engines_that_all_fail_are_not_stormed(
    tmp_path: pathlib.Path, started_edge: Any, budget: dict[str, int], least: int, most: float
) -> None:
    with started_edge(tmp_path, edge=budget) as edge, contextlib.ExitStack() as stack:
        engines = [stack.enter_context(edge.engine(f"failing-{number}")) for number in range(3)]
        counted = await attempts(edge, engines)
    print(budget, "attempts for", CALLS, "calls:", counted)
    assert least <= counted <= most


def test_a_call_goes_on_to_the_fifth_endpoint_past_the_busy_and_the_gone(edge: Any) -> None:
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(edge.engine(f"engine-{number}")) for number in range(3)]
        gone = ["127.0.0.1:9", "127.0.0.1:10"]
        last = engines[2]
        headers = {
            "authorization": "Bearer ok",
            "x-enginehouse-test-endpoints": ",".join(
                [gone[0], engines[0].address, gone[1], engines[1].address, last.address]
            ),
        }
        answer = edge.client.post("/v1/tokenize", json={"text": f"busy:{last.pid}"}, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"token_ids": [last.pid]})
        headers["x-enginehouse-test-endpoints"] = last.address
        answer = edge.client.post("/v1/tokenize", json={"text": "busy:1"}, headers=headers)
        assert (answer.status_code, answer.json()["details"][0]["reason"]) == (429, "ENGINE_BUSY")
