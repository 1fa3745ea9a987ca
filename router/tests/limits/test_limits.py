"""Rates and concurrency, with a clock moved by hand."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.limits import Bounds, Limiter


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def bounds(subject: str = "key_1", *, requests: int = 0, tokens: int = 0, concurrency: int = 0) -> Bounds:
    return Bounds(subject, "key", requests, tokens, concurrency)


async def refusal(limiter: Limiter, *subjects: Bounds, tokens: int = 0) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        await limiter.admit(subjects, tokens=tokens)
    return refused.value


async def test_a_minutes_worth_at_once_then_evenly() -> None:
    clock = Clock()
    limiter = Limiter(now_s=clock)
    left = [(await limiter.admit([bounds(requests=6)], tokens=0)).quota for _ in range(6)]
    assert [quota.remaining for quota in left if quota] == [5, 4, 3, 2, 1, 0]
    error = await refusal(limiter, bounds(requests=6))
    assert error.reason is Reason.RATE_LIMITED
    assert error.retry_after_s == pytest.approx(10)
    clock.now += error.retry_after_s or 0
    await limiter.admit([bounds(requests=6)], tokens=0)
    await refusal(limiter, bounds(requests=6))


async def test_tokens_are_charged_at_their_bound_and_corrected_by_what_was_used() -> None:
    clock = Clock()
    limiter = Limiter(now_s=clock)
    held = await limiter.admit([bounds(tokens=1000)], tokens=900)
    assert (await refusal(limiter, bounds(tokens=1000), tokens=200)).reason is Reason.TOKENS_LIMITED
    held.release(100)
    held.release(0)
    await limiter.admit([bounds(tokens=1000)], tokens=900)
    never = await refusal(limiter, bounds(tokens=1000), tokens=1001)
    assert never.retry_after_s is None, "waiting would not help"


async def never(_seconds: float) -> None:
    """A pause that no clock ends."""
    await asyncio.Event().wait()


async def at_once(_seconds: float) -> None:
    """A pause that is over as it begins."""


@pytest.mark.parametrize("slots", [1, 2, 7])
async def test_clients_that_ask_one_after_the_other_are_never_refused(slots: int) -> None:
    """As many clients as slots, each back with its next request before the last one's slot is free."""
    limiter = Limiter(now_s=Clock(), pause=never)
    loop = asyncio.get_running_loop()
    subjects = [bounds(concurrency=slots), bounds("ten_1", concurrency=slots), bounds("user_1", requests=10_000)]

    async def client() -> None:
        for _ in range(30):
            held = await limiter.admit(subjects, tokens=0)
            loop.call_later(0, lambda held=held: loop.call_soon(held.release, None))

    await asyncio.gather(*(client() for _ in range(slots)))


async def test_a_slot_goes_to_whoever_can_use_it() -> None:
    """The first in line for the tenant's slot lacks its own key's as well, so the next is served."""
    limiter = Limiter(now_s=Clock(), pause=never)
    tenant, one, other = bounds("ten_1", concurrency=2), bounds("key_1", concurrency=1), bounds("key_2", concurrency=2)
    await limiter.admit([one, tenant], tokens=0)
    second = await limiter.admit([other, tenant], tokens=0)
    first_in_line = asyncio.create_task(limiter.admit([one, tenant], tokens=0))
    await asyncio.sleep(0)
    next_in_line = asyncio.create_task(limiter.admit([other, tenant], tokens=0))
    await asyncio.sleep(0)
    second.release(None)
    await asyncio.wait_for(next_in_line, 10)
    assert not first_in_line.done()
    first_in_line.cancel()
    await asyncio.gather(first_in_line, return_exceptions=True)


async def test_one_that_leaves_passes_its_slot_on() -> None:
    limiter = Limiter(now_s=Clock(), pause=never)
    two = bounds(concurrency=2)
    held = [await limiter.admit([two], tokens=0) for _ in range(2)]
    leaving = asyncio.create_task(limiter.admit([two], tokens=0))
    staying = asyncio.create_task(limiter.admit([two], tokens=0))
    await asyncio.sleep(0)
    held[0].release(None)
    leaving.cancel()
    await asyncio.wait_for(staying, 10)


async def test_a_flood_waits_no_longer_than_is_told_and_no_more_than_there_are_slots() -> None:
    waits: list[float] = []

    async def pause(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.Event().wait()

    limiter = Limiter(now_s=Clock(), pause=pause)
    two = bounds(concurrency=2)
    for _ in range(2):
        await limiter.admit([two], tokens=0)
    waiting = [asyncio.create_task(limiter.admit([two], tokens=0)) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(20):
        assert (await refusal(limiter, two)).reason is Reason.CONCURRENCY_LIMITED
    await asyncio.sleep(0)
    assert set(waits) == {0.25}
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_slots_are_freed_once() -> None:
    limiter = Limiter(now_s=Clock(), pause=at_once)
    first = await limiter.admit([bounds(concurrency=2)], tokens=0)
    await limiter.admit([bounds(concurrency=2)], tokens=0)
    assert (await refusal(limiter, bounds(concurrency=2))).reason is Reason.CONCURRENCY_LIMITED
    first.release(None)
    first.release(None)
    await limiter.admit([bounds(concurrency=2)], tokens=0)
    await refusal(limiter, bounds(concurrency=2))


async def test_all_bounds_hold_or_none_is_charged() -> None:
    limiter = Limiter(now_s=Clock())
    tenant = Bounds("ten_1", "tenant", 1, 0, 0)
    await limiter.admit([tenant], tokens=0)
    for _ in range(10):
        error = await refusal(limiter, bounds(requests=5), tenant)
        assert "tenant ten_1" in error.message
    quota = (await limiter.admit([bounds(requests=5)], tokens=0)).quota
    assert quota is not None
    assert quota.remaining == 4


async def test_a_request_that_failed_to_be_admitted_counts_for_nothing() -> None:
    limiter = Limiter(now_s=Clock())
    for _ in range(10):
        (await limiter.admit([bounds(requests=1, tokens=10, concurrency=1)], tokens=10)).cancel()
    await limiter.admit([bounds(requests=1, tokens=10, concurrency=1)], tokens=10)


async def test_idle_subjects_are_forgotten_and_busy_ones_are_not() -> None:
    clock = Clock()
    limiter = Limiter(now_s=clock, pause=at_once)
    await limiter.admit([bounds("busy", concurrency=1)], tokens=0)
    await limiter.admit([bounds("idle", requests=60)], tokens=0)
    clock.now += 2
    limiter.prune()
    assert len(limiter) == 1
    await refusal(limiter, bounds("busy", concurrency=1))


@given(st.integers(1, 100), st.lists(st.floats(0, 20), max_size=200))
async def test_no_stretch_of_time_sees_more_than_its_share(limit: int, pauses: list[float]) -> None:
    clock = Clock()
    limiter = Limiter(now_s=clock)
    admitted: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            await limiter.admit([bounds(requests=limit)], tokens=0)
        except ServiceError:
            continue
        admitted.append(clock.now)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            stretch = admitted[last] - admitted[first]
            assert last - first + 1 <= limit + stretch * limit / 60 + 1e-6
