"""Prefix affinity: the same beginning, the same engine, and none of them much busier than the others."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from enginehouse.router.fleet.affinity import affinity_key, preferred, seed_of
from enginehouse.router.request import InferenceRequest, Task


@dataclasses.dataclass
class Engine:
    name: str
    capacity: int = 8
    requests: int = 0
    full: bool = False

    @property
    def seed(self) -> int:
        return seed_of(self.name)


def new_request(*texts: str) -> InferenceRequest:
    return InferenceRequest(task=Task.GENERATE, texts=texts)


def key(number: int) -> int:
    return affinity_key("ten_1", new_request(f"system prompt number {number}"), characters=256)


def test_the_beginning_and_the_tenant_decide() -> None:
    long = "You are a tutor of physics. " * 20
    assert affinity_key("a", new_request(long + "x", "hi"), characters=256) == affinity_key(
        "a", new_request(long, "ho"), characters=256
    )
    assert affinity_key("a", new_request(long), characters=256) != affinity_key("b", new_request(long), characters=256)
    assert affinity_key("a", new_request("one"), characters=256) != affinity_key(
        "a", new_request("two"), characters=256
    )
    assert affinity_key("a", new_request("\ud800 lone"), characters=256)
    assert 0 == affinity_key("a", new_request(), characters=256) == affinity_key("a", new_request(""), characters=256)
    assert affinity_key("a", new_request(long), characters=0) == 0


def test_keys_spread_evenly_and_only_the_share_of_one_that_leaves_moves() -> None:
    engines = [Engine(f"engine-{number}") for number in range(5)]
    homes = {number: preferred(engines, key(number), slack=0.25).name for number in range(2000)}
    shares = Counter(homes.values())
    assert min(shares.values()) > 300
    left = engines[:2] + engines[3:]
    for number, home in homes.items():
        if home != "engine-2":
            assert preferred(left, key(number), slack=0.25).name == home


def test_routers_that_list_engines_in_another_order_agree() -> None:
    engines = [Engine(f"engine-{number}") for number in range(5)]
    for number in range(50):
        assert preferred(engines, key(number), slack=0.25) is preferred(engines[::-1], key(number), slack=0.25)


def test_one_prompt_that_all_send_does_not_drown_its_engine() -> None:
    engines = [Engine(f"engine-{number}") for number in range(4)]
    for sent in range(1, 101):
        chosen = preferred(engines, key(1), slack=0.25)
        chosen.requests += 1
        assert chosen.requests <= max(4, math.ceil(1.25 * sent / 4))
    assert max(engine.requests for engine in engines) <= 32
    home = max(engines, key=lambda engine: engine.requests)
    assert preferred([Engine(engine.name) for engine in engines], key(1), slack=0.25).name == home.name


def test_a_larger_engine_has_a_larger_share() -> None:
    small, large = Engine("small", capacity=2), Engine("large", capacity=6)
    for number in range(80):
        preferred([small, large], key(number), slack=0.0).requests += 1
    assert (small.requests, large.requests) == (20, 60)


def test_a_full_cache_makes_room_nowhere() -> None:
    engines = [Engine("a", full=True), Engine("b"), Engine("c")]
    assert "a" not in {preferred(engines, key(number), slack=0.25).name for number in range(100)}
    assert preferred([Engine("a", full=True)], key(1), slack=0.25).name == "a"


@given(
    st.lists(st.tuples(st.integers(1, 64), st.integers(0, 500)), min_size=1, max_size=12),
    st.integers(1, 2**32 - 1),
    st.floats(0, 2),
)
def test_the_chosen_is_never_busy_over_its_share(loads: list[tuple[int, int]], wanted: int, slack: float) -> None:
    engines = [Engine(str(number), capacity, requests) for number, (capacity, requests) in enumerate(loads)]
    chosen = preferred(engines, wanted, slack=slack)
    total, capacity = sum(engine.requests for engine in engines), sum(engine.capacity for engine in engines)
    bound = max(0.5, (total + 1) * (1 + slack) / capacity)
    assert chosen.requests + 1 <= math.ceil(bound * chosen.capacity)
