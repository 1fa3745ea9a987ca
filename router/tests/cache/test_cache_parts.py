"""The cache's parts: what is kept in memory and for how long, who waits for whom, which questions count as one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.router.v1 import cache_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.cache import (
    AnswerMemory,
    CachedAnswer,
    CacheSettings,
    DirectiveParser,
    KeyPolicy,
    Question,
    QuestionPair,
    RequestCoalescer,
    SemanticIndex,
    conflict,
    rates,
    traits,
)

PAIRS = Path(__file__).parents[2] / "benchmarks" / "question_pairs.jsonl"


class Clock:
    now = 1_000

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1000


def test_an_answer_is_good_until_its_time_and_not_a_millisecond_longer() -> None:
    clock = Clock()
    memory = AnswerMemory(max_bytes=1 << 20, clock=clock)
    assert memory.put(b"k", CachedAnswer(b"answer", 2_000))
    clock.now = 1_999
    assert memory.get(b"k") == CachedAnswer(b"answer", 2_000)
    clock.now = 2_000
    assert memory.get(b"k") is None
    assert (len(memory), memory.bytes) == (0, 0)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4000), st.booleans()), max_size=80),
    st.integers(2_000, 20_000),
)
def test_memory_never_passes_its_bound_and_keeps_what_was_used_last(
    steps: list[tuple[int, int, bool]], bound: int
) -> None:
    memory = AnswerMemory(max_bytes=bound, clock=Clock())
    for name, size, reads in steps:
        key = bytes([name])
        if reads:
            memory.get(key)
        else:
            kept = memory.put(key, CachedAnswer(bytes(size), 10**15))
            assert kept == (memory.get(key) is not None)
        assert 0 <= memory.bytes <= bound
        assert (len(memory) == 0) == (memory.bytes == 0)
    memory.clear()
    assert (len(memory), memory.bytes) == (0, 0)


def test_the_least_recently_used_gives_way() -> None:
    memory = AnswerMemory(max_bytes=3_000, clock=Clock())
    for name in (b"a", b"b"):
        memory.put(name, CachedAnswer(bytes(1_000), 10**15))
    assert memory.get(b"a") is not None
    memory.put(b"c", CachedAnswer(bytes(1_000), 10**15))
    assert memory.get(b"b") is None
    assert memory.get(b"a") is not None
    assert memory.evicted == 1
    assert not memory.put(b"d", CachedAnswer(bytes(3_000), 10**15))


def coalescer(
    clock: Clock, *, alive: set[str] | None = None, max_waiting: int = 10, wait_s: float = 30
) -> RequestCoalescer:
    live = {"engine-1"} if alive is None else alive
    return RequestCoalescer(wait_s=wait_s, max_waiting=max_waiting, alive=live.__contains__, now_s=clock.seconds)


async def test_those_who_wait_get_the_answer_that_lands() -> None:
    at_once = coalescer(Clock())
    assert at_once.join(b"k") is None
    at_once.begin(b"k", grant_id="g1", engine_id="engine-1")
    pending = at_once.join(b"k")
    assert pending is not None
    waiting = [asyncio.create_task(at_once.wait(pending)) for _ in range(5)]
    await asyncio.sleep(0)
    assert at_once.waiting == 5
    at_once.complete(b"k", b"answer")
    assert await asyncio.gather(*waiting) == [b"answer"] * 5
    assert (at_once.waiting, len(at_once)) == (0, 0)


async def test_nobody_waits_for_one_that_failed_and_another_may_fail_without_harm() -> None:
    at_once = coalescer(Clock())
    at_once.begin(b"k", grant_id="g1", engine_id="engine-1")
    # A second begins beside it, when it was not worth waiting; its end is not the first's.
    at_once.begin(b"k", grant_id="g2", engine_id="engine-1")
    at_once.abandon(b"k", "g2")
    pending = at_once.join(b"k")
    assert pending is not None
    waiting = asyncio.create_task(at_once.wait(pending))
    await asyncio.sleep(0)
    at_once.abandon(b"k", "g1")
    assert await waiting is None
    assert at_once.join(b"k") is None


async def test_a_dead_engine_is_not_waited_for() -> None:
    alive = {"engine-1"}
    at_once = coalescer(Clock(), alive=alive)
    at_once.begin(b"k", grant_id="g1", engine_id="engine-1")
    pending = at_once.join(b"k")
    assert pending is not None
    waiting = asyncio.create_task(at_once.wait(pending))
    await asyncio.sleep(0)
    alive.clear()
    assert await waiting is None
    assert at_once.join(b"k") is None


async def test_waiting_is_bounded_in_time_and_number() -> None:
    clock = Clock()
    at_once = coalescer(clock, max_waiting=1)
    at_once.begin(b"k", grant_id="g1", engine_id="engine-1")
    pending = at_once.join(b"k")
    assert pending is not None
    waiting = asyncio.create_task(at_once.wait(pending))
    await asyncio.sleep(0)
    assert at_once.join(b"k") is None
    clock.now += 30_001
    assert await waiting is None
    assert at_once.join(b"k") is None
    none = coalescer(Clock(), wait_s=0)
    none.begin(b"k", grant_id="g1", engine_id="engine-1")
    assert none.join(b"k") is None


def directives(policy: KeyPolicy | None = None, *, mode: Any = "asked", **headers: str) -> Any:
    given = {f"x-enginehouse-{name}".replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return DirectiveParser(settings=CacheSettings(mode=mode)).parse(given, policy)


def policy(mode: int = 0, kind: int = 0, *, semantic: bool = False, threshold: float = 0.0) -> KeyPolicy:
    return KeyPolicy("key_1", mode, kind, semantic, threshold)


DAY_MS = 86_400_000


def test_nothing_is_kept_unless_somebody_asks_for_it() -> None:
    assert directives() is None
    assert directives(policy()) is None
    assert directives(cache="use").keep_ms == DAY_MS
    assert directives(policy(cache_pb2.CACHE_MODE_DETERMINISTIC)).deterministic_only
    assert not directives(policy(cache_pb2.CACHE_MODE_DETERMINISTIC), cache="use").deterministic_only
    assert not directives(policy(cache_pb2.CACHE_MODE_ALWAYS)).deterministic_only
    assert directives(policy(cache_pb2.CACHE_MODE_ALWAYS), cache="off") is None
    assert directives(policy(cache_pb2.CACHE_MODE_NEVER), cache="use") is None
    assert directives(mode="deterministic").deterministic_only
    assert directives(cache="use").reads
    assert not directives(cache="refresh").reads


def test_classes_decide_how_long() -> None:
    times = {"factual": 7, "practice": 1, "curriculum": 30}
    assert {name: directives(cache="use", cache_class=name).keep_ms / DAY_MS for name in times} == times
    assert directives(cache="use", cache_class="personal") is None
    personal = policy(kind=cache_pb2.CACHE_CLASS_PERSONAL)
    assert directives(personal, cache="use") is None
    assert directives(personal, cache="use", cache_class="factual").keep_ms == 7 * DAY_MS
    assert directives(policy(kind=cache_pb2.CACHE_CLASS_CURRICULUM), cache="use").keep_ms == 30 * DAY_MS


def test_tags_and_meaning() -> None:
    assert directives(cache="use", cache_tags="b, a@7,b").tags == ("a@7", "b")
    assert directives(cache="use").semantic == 0
    assert directives(policy(semantic=True), cache="use").semantic == 0.9
    assert directives(policy(semantic=True, threshold=0.97), cache="use").semantic == 0.97


@pytest.mark.parametrize(
    "headers",
    [
        {"cache": "maybe"},
        {"cache": "use", "cache_class": "fleeting"},
        {"cache": "use", "cache_tags": "with space, b"},
        {"cache": "use", "cache_tags": ",".join(str(number) for number in range(9))},
        {"cache": "use", "cache_tags": "x" * 129},
    ],
)
def test_a_header_that_cannot_be_read_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ServiceError) as refused:
        directives(**headers)
    assert refused.value.reason is Reason.INVALID_REQUEST
    assert "x-enginehouse-cache" in refused.value.message


def question(text: str, direction: int, *, frame: bytes = b"f", tilt: float = 0.0) -> Question:
    vector = np.zeros(8, dtype=np.float32)
    vector[direction] = 1
    vector[7] += tilt
    return Question(frame, vector / np.linalg.norm(vector), traits(text))


def test_the_nearest_question_answers_within_its_frame() -> None:
    index = SemanticIndex(max_entries=100)
    index.add(question("What is rain?", 0), b"rain")
    index.add(question("What is snow like?", 1), b"snow")
    near = index.nearest(question("What is rain made of, really?", 0, tilt=0.1), threshold=0.9)
    assert near is not None
    assert near.key == b"rain"
    assert 0.99 < near.cosine < 1
    assert index.nearest(question("What is rain made of, really?", 0, frame=b"g"), threshold=0.9) is None
    assert index.nearest(question("What is hail made of, really?", 2), threshold=0.9) is None


def test_the_guard_looks_past_the_nearest() -> None:
    index = SemanticIndex(max_entries=100)
    index.add(question("What is 3 plus 5?", 0), b"five")
    index.add(question("3 plus 4 makes what?", 0, tilt=0.2), b"four")
    near = index.nearest(question("What is 3 plus 4?", 0), threshold=0.9)
    assert near is not None
    assert near.key == b"four"
    assert index.nearest(question("What is 3 plus 6?", 0), threshold=0.9) is None


def test_the_index_is_bounded_and_forgets() -> None:
    index = SemanticIndex(max_entries=10)
    for number in range(30):
        index.add(question("Why is it so?", number % 6, frame=bytes([number % 3])), bytes([number]))
        assert len(index) <= 10
    newest = question("Why is it so?", 29 % 6, frame=bytes([29 % 3]))
    near = index.nearest(newest, threshold=0.99)
    assert near is not None
    index.drop(newest.frame, near.key)
    again = index.nearest(newest, threshold=0.99)
    assert again is None or again.key != near.key
    index.add(question("Why is it so?", 1), b"same")
    before = len(index)
    index.add(question("Why is it so?", 2), b"same")
    assert len(index) == before


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("What is 2 + 2?", "What is 2 - 2?", "symbols"),
        ("What is 1,000 in words?", "What is 1000 in words?", ""),
        ("Tell me about 25 things", "Tell me about ౨౫ things", ""),
        ("Tell me about three things", "Tell me about 3 things", ""),
        ("Where is Delhi?", "where is delhi?", ""),
        ("Can you fly there?", "You can't fly there?", "negation"),
        ("What does “run” mean?", "What does “walk” mean?", "quotes"),
        ("Is the reaction reversible?", "Is the reaction irreversible?", "negation"),
        ("భూమి ఎంత పెద్దది?", "How big is the earth?", "script"),
        ("What comes before lunch?", "What comes after lunch?", "opposites"),
        ("First show the second one", "Show the first one", ""),
        ("Why do cats purr?", "Why do dogs purr?", "substitution"),
        ("How is it growing?", "How does it grow?", ""),
        ("Convert rupees to dollars.", "Convert dollars to rupees.", "order"),
        ("Where do they live?", "How long do they live?", "question"),
        ("Why is it so?", "What is the reason for it?", ""),
    ],
)
def test_the_guard(one: str, other: str, why: str) -> None:
    found = conflict(traits(one), traits(other))
    assert found == conflict(traits(other), traits(one))
    assert found == why


def test_the_guard_never_objects_to_the_same_words() -> None:
    for line in PAIRS.read_text().splitlines():
        pair = json.loads(line)
        for text in (pair["one"], pair["other"]):
            assert conflict(traits(text), traits(text)) == ""


def test_the_guard_parts_what_differs_by_number_name_or_negation() -> None:
    pairs = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    assert sum(pair["same"] for pair in pairs) >= 60
    assert sum(not pair["same"] for pair in pairs) >= 60
    through = [pair for pair in pairs if not pair["same"] and not conflict(traits(pair["one"]), traits(pair["other"]))]
    assert [pair for pair in through if pair["differs"] in ("number", "name", "negation", "opposite", "order")] == []
    assert len(through) <= 0.02 * len(pairs)
    blocked = [pair for pair in pairs if pair["same"] and conflict(traits(pair["one"]), traits(pair["other"]))]
    assert len(blocked) <= 0.15 * sum(pair["same"] for pair in pairs)


def test_rates_are_shares_of_the_pairs_of_each_kind() -> None:
    pairs = [
        QuestionPair("Why is it so?", "Why is that so?", same=True),
        QuestionPair("How is it made?", "In what way is it made by people?", same=True),
        QuestionPair("What is 2 plus 2?", "What is 2 plus 3?", same=False),
        QuestionPair("What is it?", "How old is the sun?", same=False),
    ]
    found = rates(pairs, [0.99, 0.8, 0.97, 0.1], threshold=0.9)
    assert (found.hits, found.wrong) == (0.5, 0.5)
    assert (found.guarded_hits, found.guarded_wrong) == (0.5, 0.0)
