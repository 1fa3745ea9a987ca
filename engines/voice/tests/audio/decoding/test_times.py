"""The decoder pool bounds the time of any file."""

from __future__ import annotations

import asyncio
import time

import psutil
import pytest

from enginehouse.engines.voice.audio import DecoderPool, MediaError, MediaLimits, pcm_bytes
from engines.voice.tests.audio.decoding.decoders import SHORT, children, decoded
from engines.voice.tests.audio.sounds import media, tone, wav


async def test_processor_time_is_bounded(pool: DecoderPool) -> None:
    part = media("ogg", "libopus", seconds=10)
    with pytest.raises(MediaError, match="takes more than 1 seconds of processor time"):
        await decoded(pool, part * 140, limits=MediaLimits(max_cpu_s=1))
    # It is counted from each file's beginning.
    await pool.start()
    (child,) = children()
    while child.cpu_times().user < 1.1:
        assert len(await decoded(pool, part, limits=MediaLimits(max_cpu_s=1))) > 0
    assert len(await decoded(pool, SHORT, limits=MediaLimits(max_cpu_s=1))) == 16_000
    assert children() == [child]
    assert child.rlimit(psutil.RLIMIT_CPU)[0] >= 3


async def test_waits_add_up(pool: DecoderPool) -> None:
    # At this rate a piece exceeds the pipe's capacity: the child waits with each.
    answers = pool.decode(wav(pcm_bytes(tone(440, 30, 16_000))), rate=768_000, limits=MediaLimits(max_wait_s=1))
    await anext(answers)
    (child,) = children()
    with pytest.raises(MediaError, match="takes more than 1 seconds"):
        for _ in range(12):
            child.suspend()
            asyncio.get_running_loop().call_later(0.2, child.resume)
            await anext(answers)


async def test_waiting_is_bounded_but_slow_reading_is_not(pool: DecoderPool) -> None:
    await pool.start()
    (child,) = children()
    child.suspend()
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"takes more than 0\.3 seconds"):
        await decoded(pool, SHORT, limits=MediaLimits(max_wait_s=0.3))
    assert time.monotonic() - started < 5
    await pool.start()
    got = 0
    async for samples in pool.decode(
        wav(pcm_bytes(tone(440, 3, 16_000))), rate=16_000, limits=MediaLimits(max_wait_s=1)
    ):
        got += len(samples)
        await asyncio.sleep(0.2)
    assert got == 3 * 16_000
