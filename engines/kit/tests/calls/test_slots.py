from __future__ import annotations

import asyncio

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.kit.calls.slots import Slots
from enginehouse.kit.errors import Reason, ServiceError


async def test_beyond_the_queue_it_is_busy_and_says_when_to_come_back() -> None:
    slots = Slots(capacity=1, queue_limit=1, retry_after_s=lambda: 2.5)
    release = asyncio.Event()

    async def work() -> None:
        async with slots.hold():
            await release.wait()

    running = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)
    assert (slots.active, slots.queued) == (1, 1)
    with pytest.raises(ServiceError) as caught:
        async with slots.hold():
            pass
    assert caught.value.reason is Reason.ENGINE_BUSY
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after_s == 2.5
    release.set()
    await asyncio.gather(*running)
    assert (slots.active, slots.queued) == (0, 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3), st.integers(0, 4), st.lists(st.sampled_from(["start", "cancel", "end", "turn"]), max_size=60))
def test_no_interleaving_loses_a_slot(capacity: int, limit: int, steps: list[str]) -> None:
    async def interleave() -> None:
        slots = Slots(capacity=capacity, queue_limit=limit)
        most = 0
        running = 0
        ends: list[asyncio.Event] = []
        tasks: list[asyncio.Task[None]] = []

        async def work(end: asyncio.Event) -> None:
            nonlocal running, most
            async with slots.hold():
                running += 1
                most = max(most, running)
                try:
                    await end.wait()
                finally:
                    running -= 1

        for n, step in enumerate(steps):
            if step == "start":
                ends.append(asyncio.Event())
                tasks.append(asyncio.create_task(work(ends[-1])))
            elif step == "cancel" and tasks:
                tasks[n % len(tasks)].cancel()
            elif step == "end" and ends:
                ends[n % len(ends)].set()
            else:
                await asyncio.sleep(0)
            assert slots.queued <= max(limit, capacity)
        for end in ends:
            end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= capacity
        assert (slots.active, slots.queued) == (0, 0)

    asyncio.run(interleave())


@pytest.mark.parametrize("capacity", [1, 3])
async def test_callers_one_after_the_other_are_never_refused(capacity: int) -> None:
    """The slot is given back after its caller has the answer and is back; no clock runs."""
    slots = Slots(capacity=capacity, queue_limit=0, pause=lambda _: asyncio.Event().wait())
    loop = asyncio.get_running_loop()

    async def caller() -> None:
        for _ in range(20):
            await slots.take()
            loop.call_later(0, lambda: loop.call_soon(slots.give))

    await asyncio.gather(*(caller() for _ in range(capacity)))
    while slots.active:
        await asyncio.sleep(0)


async def test_a_full_engine_refuses_after_a_moment() -> None:
    moments: list[float] = []

    async def pause(seconds: float) -> None:
        moments.append(seconds)

    slots = Slots(capacity=2, queue_limit=1, pause=pause)
    for _ in range(2):
        await slots.take()
    queued = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    with pytest.raises(ServiceError) as caught:
        await slots.take()
    assert caught.value.reason is Reason.ENGINE_BUSY
    assert moments == [0.25]
    assert slots.queued == 1
    slots.give()
    await queued


def test_senseless_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="capacity 0"):
        Slots(capacity=0, queue_limit=1)
