from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.kit.server.stream import CoalescingWriter


def writer(max_pending: int = 8) -> CoalescingWriter[int, list[int]]:
    return CoalescingWriter(merge=list, max_pending=max_pending)


async def test_what_has_accumulated_goes_out_as_one_message() -> None:
    joined = writer()
    for n in range(5):
        assert joined.offer(n)
    joined.close()
    assert [message async for message in joined] == [[0, 1, 2, 3, 4]]


async def test_a_delta_alone_goes_out_at_once() -> None:
    joined = writer()

    async def read() -> list[int]:
        return await anext(aiter(joined))

    first = asyncio.create_task(read())
    await asyncio.sleep(0)
    await joined.put(1)
    assert await asyncio.wait_for(first, 5) == [1]


async def test_a_full_writer_holds_its_producer_until_the_reader_reads() -> None:
    joined = writer(max_pending=3)
    for n in range(3):
        await joined.put(n)
    assert not joined.offer(3)
    blocked = asyncio.create_task(joined.put(3))
    # Once it has run it waits for room, and nothing but the reader makes any.
    await asyncio.sleep(0)
    assert not blocked.done()
    messages = aiter(joined)
    assert await anext(messages) == [0, 1, 2]
    assert await asyncio.wait_for(blocked, 5)
    assert await anext(messages) == [3]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 7), st.lists(st.integers(0, 3), max_size=60))
def test_order_is_kept_and_nothing_lost_and_the_bound_holds(most: int, pauses: list[int]) -> None:
    async def exchange() -> None:
        joined = writer(max_pending=most)

        async def produce() -> None:
            for n, pause in enumerate(pauses):
                assert await joined.put(n)
                for _ in range(pause):
                    await asyncio.sleep(0)
            joined.close()

        producer = asyncio.create_task(produce())
        seen: list[int] = []
        async for message in joined:
            assert 1 <= len(message) <= most
            seen += message
            await asyncio.sleep(0)
        await producer
        assert seen == list(range(len(pauses)))

    asyncio.run(exchange())


async def test_a_thread_produces_and_waits_for_room() -> None:
    joined = writer(max_pending=4)
    count = 2_000
    failures = 0

    def produce() -> None:
        nonlocal failures
        for n in range(count):
            failures += not joined.put_blocking(n, timeout_s=30)
        joined.close()

    thread = threading.Thread(target=produce)
    thread.start()
    seen: list[int] = []
    async for message in joined:
        assert len(message) <= 4
        seen += message
    await asyncio.to_thread(thread.join)
    assert not failures
    assert seen == list(range(count))


async def test_a_thread_waits_no_longer_than_it_says() -> None:
    joined = writer(max_pending=1)
    assert joined.offer(0)
    assert await asyncio.to_thread(joined.put_blocking, 1, timeout_s=0.05) is False
    assert await asyncio.to_thread(lambda: joined.offer(1)) is False


async def test_a_reader_that_goes_frees_every_producer() -> None:
    joined = writer(max_pending=1)
    joined.offer(0)
    waiting = asyncio.create_task(joined.put(1))
    in_thread = asyncio.create_task(asyncio.to_thread(joined.put_blocking, 2, timeout_s=30))
    await asyncio.sleep(0.05)
    async with aclosing(aiter(joined)) as messages:
        assert await anext(messages) == [0]
    assert joined.abandoned
    await asyncio.wait_for(asyncio.gather(waiting, in_thread), 5)
    assert not joined.offer(3)
    assert not await joined.put(4)


async def test_an_error_reaches_the_reader_after_what_came_before_it() -> None:
    joined = writer()
    joined.offer(1)
    joined.close(ValueError("backend"))
    messages = aiter(joined)
    assert await anext(messages) == [1]
    with pytest.raises(ValueError, match="backend"):
        await anext(messages)
    with pytest.raises(RuntimeError, match="closed"):
        joined.offer(2)


async def test_closing_wakes_a_waiting_reader() -> None:
    joined = writer()
    end = asyncio.create_task(anext(aiter(joined), None))
    await asyncio.sleep(0)
    await asyncio.to_thread(joined.close)
    assert await asyncio.wait_for(end, 5) is None


async def test_a_cancelled_put_puts_nothing() -> None:
    joined = writer(max_pending=1)
    joined.offer(0)
    put = asyncio.create_task(joined.put(1))
    await asyncio.sleep(0)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    joined.close()
    assert [message async for message in joined] == [[0]]
