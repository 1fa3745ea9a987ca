"""Models that fail and those that step in: through Envoy, with two engines, a provider, and the ledger behind them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from tests.engines import EngineProcess, catalog_with, engine
from tests.mesh import Mesh
from tests.provider import ScriptedProvider, scripted_provider

PATIENCE_S = 60.0
# Nano-dollars a million: each model's own, so that a bill says who was paid for.
FIRST = {"input_tokens": 10_000_000, "cached_input_tokens": 10_000_000, "output_tokens": 70_000_000}
SECOND = {"input_tokens": 20_000_000, "cached_input_tokens": 20_000_000, "output_tokens": 110_000_000}
FAR = {"input_tokens": 900_000_000, "output_tokens": 1_300_000_000}
# Two of the provider's models: one falls back to a model of the same engine, one to a model of another.
PRICES = {"first": FIRST, "second": SECOND, "far": FAR, "distant": FAR}
CHAINS = {"first": ["second"], "far": ["first", "second"], "distant": ["second"]}
OUTAGES = ("503", "429", "garbage", "silent")


class World:
    """A mesh without engines of its own, a provider, and two engines: one asks the provider, too."""

    def __init__(self, mesh: Mesh, provider: ScriptedProvider, near: EngineProcess, other: EngineProcess) -> None:
        self.mesh = mesh
        self.provider = provider
        self.near = near
        self.other = other
        self.client = httpx.Client(base_url=mesh.url, timeout=60)

    def chat(self, key: str, model: str, **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Tell me a story"}], "max_tokens": 5, **fields}
        return self.client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})

    def admin(self, method: str, path: str, **request: Any) -> Any:
        headers = {"authorization": f"Bearer {self.mesh.key}"}
        answer = self.client.request(method, f"/v1/admin/{path}", headers=headers, **request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create_key(self, name: str) -> tuple[str, str]:
        made = self.admin("POST", "keys", json={"name": name, "budget_nanos": str(10**11)})
        return made["key"]["key_id"], made["secret"]

    def spend(self, key_id: str) -> int:
        return int(self.admin("GET", "spend", params={"key_id": key_id})["total_nanos"])

    def settled(self, key_id: str, expected: int) -> None:
        """The ledger has billed exactly that, and stays so."""
        until(lambda: self.spend(key_id) >= expected, "everything is settled")
        assert self.spend(key_id) == expected


def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def cost(model: str, usage: dict[str, Any]) -> int:
    """The cost of an answer at a model's prices, where cached prompts cost the same."""
    prices = PRICES[model]
    return -(
        -(usage["prompt_tokens"] * prices["input_tokens"] + usage["completion_tokens"] * prices["output_tokens"])
        // 10**6
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("fallback")
    with scripted_provider() as provider:
        bought = {
            "backend": "upstream",
            "source": provider.url,
            "capabilities": ["chat", "completion"],
            "prices": FAR,
            "options": {"retries": 3, "silence_timeout_s": 1},
        }
        catalog = catalog_with(
            folder,
            {"name": "first", "prices": FIRST},
            {"name": "second", "prices": SECOND},
            {"name": "far", **bought},
            {"name": "distant", **bought},
        )
        config = {"local": {"engines": {"inference": 0}, "catalog_file": catalog}}
        with (
            Mesh.started(config=config) as mesh,
            engine(mesh, "near", models=("first", "far", "distant"), environ=dict(os.environ)) as near,
            engine(mesh, "other", models=("second",), environ=dict(os.environ)) as other,
        ):
            made = World(mesh, provider, near, other)
            chains = [{"model": name, "models": models, "for_named": True} for name, models in CHAINS.items()]
            policy = {"name": "default", "fallbacks": chains}
            set_policy = made.admin("PUT", "policies/default", json={"policy": policy})["policy"]
            assert len(set_policy["fallbacks"]) == len(CHAINS)
            for model in PRICES:
                until(lambda model=model: made.chat(mesh.key, model).json().get("model") == model, f"{model} answers")
            yield made
            made.client.close()


@pytest.mark.parametrize(("model", "instead"), [("far", "first"), ("distant", "second")])
def test_a_provider_that_fails_is_stepped_in_for(world: World, model: str, instead: str) -> None:
    """On the same engine, and through Envoy on another: at the prices of the model that answers, once."""
    key_id, key = world.create_key(model)
    paid = 0
    for outage in OUTAGES:
        world.provider.mode = outage
        asked = world.provider.asked
        # While the provider is left alone for what it did before, others step in all the same.
        until_s = time.monotonic() + PATIENCE_S
        while world.provider.asked == asked:
            assert time.monotonic() < until_s, f"the provider was not asked again while it did this: {outage}"
            answer = world.chat(key, model)
            body = answer.json()
            assert answer.status_code == 200, body
            assert body["model"] == instead
            if "x-enginehouse-fallbacks" in answer.headers:
                assert answer.headers.get_list("x-enginehouse-model") == [instead]
            assert body["usage"]["cost_nanos"] == cost(instead, body["usage"])
            paid += body["usage"]["cost_nanos"]
    world.settled(key_id, paid)


def test_a_stream_that_was_cut_is_not_begun_anew_by_another_model(world: World) -> None:
    key_id, key = world.create_key("cut")
    world.provider.mode = "answer"
    # A probe may pass where a breaker is half-open, but not three in a row.
    until(
        lambda: all(world.chat(world.mesh.key, "far").json().get("model") == "far" for _ in range(3)),
        "the provider is trusted",
    )
    world.provider.mode = "cut"
    answer = world.chat(key, "far", stream=True)
    assert answer.headers["x-enginehouse-model"] == "far"
    events = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    assert any("far " in event for event in events)
    assert "upstream_failed" in events[-1]
    until(lambda: world.spend(key_id) > 0, "what was sent is billed")


def test_a_provider_that_is_down_is_not_asked_again_and_again(world: World) -> None:
    _, key = world.create_key("down")
    world.provider.mode = "503"

    def known() -> bool:
        """A few failures pass before the router has heard of them; then it no longer counts on the model."""
        assert world.chat(key, "far").json()["model"] == "first"
        told = world.admin("POST", "explain", json={"model": "far", "prompt": "x"})
        return "open" in next(candidate for candidate in told["candidates"] if candidate["model"] == "far")["health"]

    until(known, "the breaker opens")
    before = world.provider.asked
    for _ in range(30):
        assert world.chat(key, "far").json()["model"] == "first"
    assert world.provider.asked - before <= 10
    world.provider.mode = "answer"
    until(lambda: world.chat(key, "far").json()["model"] == "far", "the provider is back")


async def test_killed_engines_cost_no_request_that_another_model_can_serve(world: World) -> None:
    key_id, key = world.create_key("killed")
    seen: list[tuple[str, str, int]] = []
    failures: list[str] = []
    stop = asyncio.Event()
    request = generation_pb2.GenerateRequest(model="first", prompt="Once", max_output_tokens=4)
    async with grpc.aio.insecure_channel(world.mesh.target) as channel:
        stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)

        async def ask() -> None:
            while not stop.is_set():
                call = stub.Generate(request, metadata=(("authorization", f"Bearer {key}"),), timeout=60)
                begun = False
                try:
                    messages = []
                    async for message in call:
                        begun = True
                        messages.append(message)
                    named = dict(await call.initial_metadata()).get("x-enginehouse-model", "")
                    seen.append((messages[0].model, named, messages[-1].summary.usage.cost_nanos))
                except grpc.aio.AioRpcError as error:
                    # The headers that name the model are the beginning: after them no other may step in.
                    if not begun and "x-enginehouse-model" not in dict(await call.initial_metadata()):
                        failures.append(f"{error.code().name}: {error.details()}")

        def answered_by(model: str) -> int:
            return sum(one == model for one, _, _ in seen)

        async def reach(model: str, count: int) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while answered_by(model) < count:
                    await asyncio.sleep(0.02)

        tasks = [asyncio.create_task(ask()) for _ in range(4)]
        try:
            await reach("first", 20)
            await asyncio.to_thread(world.near.kill)
            await reach("second", 40)
            await asyncio.to_thread(world.near.start)
            await reach("first", answered_by("first") + 20)
        finally:
            stop.set()
            await asyncio.gather(*tasks)
    assert failures == []
    # Each answer says who made it, twice, and costs what that one costs.
    assert all(model == named for model, named, _ in seen)
    # What was cut by the kill is billed too, but nothing twice.
    until(lambda: world.spend(key_id) >= sum(paid for _, _, paid in seen), "everything is settled")
    assert world.spend(key_id) <= sum(paid for _, _, paid in seen) + 4 * 1000


def test_with_nobody_left_the_reason_is_told(world: World) -> None:
    """The last test of this mesh: its engines stay dead."""
    world.near.kill()
    world.other.kill()
    until(lambda: world.chat(world.mesh.key, "first").status_code == 503, "nobody is left")
    assert world.chat(world.mesh.key, "first").json()["error"]["code"] == "no_endpoint"
