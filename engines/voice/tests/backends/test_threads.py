"""Work in threads: its output comes in order, waits for the reader, and ends with it."""

import asyncio
import threading
from contextlib import aclosing

import pytest

from enginehouse.engines.voice.backends._threads import ModelThreads
from enginehouse.kit.errors import Reason, ServiceError


@pytest.fixture
async def threads():
    made = ModelThreads(name="m", slots=1, max_pending=3)
    yield made
    await made.close()


async def all_of(batches):
    return [entry async for batch in batches for entry in batch]


async def test_everything_comes_in_order(threads):
    def work(sink):
        for number in range(1000):
            sink.put(number)

    assert await all_of(threads.run(work)) == list(range(1000))


async def test_a_slow_reader_pauses_the_work(threads):
    made = []

    def work(sink):
        for number in range(100):
            made.append(number)
            sink.put(number)

    taken = 0
    async for batch in threads.run(work):
        taken += len(batch)
        for _ in range(20):
            await asyncio.sleep(0.001)
            # The pending outputs, and the one that waits for room.
            assert len(made) <= taken + 3 + 1
    assert taken == 100


async def test_a_reader_that_leaves_ends_the_work(threads):
    ended = threading.Event()

    def endless(sink):
        try:
            while True:
                sink.put(1)
        finally:
            ended.set()

    async with aclosing(threads.run(endless)) as batches:
        await anext(batches)
    assert await asyncio.to_thread(ended.wait, 30)


async def test_a_reader_that_is_cancelled_ends_the_work(threads):
    ended, began = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(sink):
        loop.call_soon_threadsafe(began.set)
        try:
            while True:
                sink.check()
        finally:
            ended.set()

    reading = asyncio.ensure_future(all_of(threads.run(endless)))
    await began.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await asyncio.to_thread(ended.wait, 30)


async def test_abandoned_work_is_not_started(threads):
    go = threading.Event()
    begun = []

    def first(sink):
        assert go.wait(30)
        sink.put(1)

    def second(sink):
        begun.append(1)

    reading = asyncio.ensure_future(all_of(threads.run(first)))
    left = asyncio.ensure_future(all_of(threads.run(second)))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    go.set()
    assert await reading == [1]
    assert await all_of(threads.run(lambda sink: sink.put(2))) == [2]
    assert not begun


async def test_errors_come_after_what_was_made(threads):
    def fails(sink):
        sink.put(1)
        raise ValueError("out of numbers")

    def refuses(sink):
        raise ServiceError(Reason.INVALID_REQUEST, "not this")

    got = []
    with pytest.raises(ServiceError) as raised:
        async for batch in threads.run(fails):
            got.extend(batch)
    assert got == [1]
    assert raised.value.reason is Reason.BACKEND_FAILED
    assert raised.value.message == "'m' failed: ValueError: out of numbers"
    with pytest.raises(ServiceError, match="not this"):
        await all_of(threads.run(refuses))


async def test_closing_ends_what_runs_and_what_waits():
    threads = ModelThreads(name="m", slots=1, max_pending=3)
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless(sink):
        loop.call_soon_threadsafe(began.set)
        while True:
            sink.check()

    readings = [asyncio.ensure_future(all_of(threads.run(endless))) for _ in range(2)]
    await began.wait()
    await threads.close()
    readings.append(asyncio.ensure_future(all_of(threads.run(endless))))
    for reading in readings:
        with pytest.raises(ServiceError) as raised:
            await reading
        assert raised.value.reason is Reason.ENGINE_DRAINING
