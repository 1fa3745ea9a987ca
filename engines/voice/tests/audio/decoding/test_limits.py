"""The decoder pool bounds the memory and the rights of any file."""

from __future__ import annotations

import asyncio
import os
import sys

import psutil
import pytest

from enginehouse.engines.voice.audio import DecoderPool, MediaError, MediaLimits
from engines.voice.tests.audio.decoding.decoders import children, decoded
from engines.voice.tests.audio.sounds import LIMITS, media, wav


async def test_the_decoder_waits_for_its_reader(pool: DecoderPool) -> None:
    """An hour of silence is a small file; at most a few pieces of its audio are buffered."""
    data = silence_for(3_600)
    assert len(data) < 2_000_000
    answers = pool.decode(data, rate=16_000, limits=LIMITS)
    await anext(answers)
    (child,) = children()
    async with asyncio.timeout(20):
        while child.status() != psutil.STATUS_SLEEPING:
            await asyncio.sleep(0.01)
    used = child.cpu_times().user
    for _ in range(5):
        await anext(answers)
    # It would take seconds to decode all of it.
    assert child.cpu_times().user - used < 0.5
    assert child.memory_info().rss < 200 << 20
    await answers.aclose()


def silence_for(seconds: int) -> bytes:
    """A FLAC file of silence: 12 bytes for a tenth of a second."""
    one = media("flac", "flac", seconds=1, hertz=0, rate=8_000)
    # Frames are numbered, but FFmpeg accepts any consecutive ones: repeat those of the first second.
    header, frames = one[: one.index(b"\xff\xf8")], one[one.index(b"\xff\xf8") :]
    return header + frames * seconds


async def test_a_small_file_of_many_hours_is_stopped_at_the_limit(pool: DecoderPool) -> None:
    data = silence_for(1_200)
    total = 0
    with pytest.raises(MediaError, match="longer than 600 seconds"):
        async for samples in pool.decode(data, rate=8_000, limits=MediaLimits(max_seconds=600)):
            assert len(samples) <= 4_000
            total += len(samples)
    assert total == pytest.approx(600 * 8_000, abs=8_000)
    (child,) = children()
    assert child.memory_info().rss < 200 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="address spaces are bounded on Linux")
@pytest.mark.parametrize(
    ("max_memory", "data", "message"),
    [
        # Too large to be received, and too large to be decoded.
        (1 << 20, wav(bytes(12_000_000)), r"made the decoder crash \(status 1\)"),
        (2 << 20, media("ogg", "libopus", seconds=3), "takes more memory than a recording should"),
    ],
    ids=["file", "decoding"],
)
async def test_memory_is_bounded_by_the_kernel(max_memory: int, data: bytes, message: str) -> None:
    pool = DecoderPool(size=1, max_memory=max_memory)
    try:
        seen = set()
        for _ in range(2):
            await pool.start()
            seen |= {child.pid for child in children()}
            with pytest.raises(MediaError, match=message):
                await decoded(pool, data, rate=768_000)
        # A process that has run out of memory is not used again.
        assert len(seen) == 2
    finally:
        await pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
async def test_a_decoder_can_open_nothing(pool: DecoderPool) -> None:
    await pool.start()
    (child,) = children()
    assert child.rlimit(psutil.RLIMIT_NOFILE) == (5, 5)
    assert sorted(os.listdir(f"/proc/{child.pid}/fd")) == ["0", "1", "2", "3", "4"]
    assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert child.num_threads() == 1


async def test_largest_files_pass(pool: DecoderPool) -> None:
    data = wav(bytes((25 << 20) - 44))
    total = 0
    async for samples in pool.decode(data, rate=16_000, limits=LIMITS):
        total += len(samples)
    assert total == (len(data) - 44) // 2
    with pytest.raises(MediaError, match="26,214,401 bytes; at most 26,214,400"):
        await decoded(pool, data + b"x")
    with pytest.raises(MediaError, match="at most 26,214,400"):
        await decoded(pool, data + b"x", limits=MediaLimits(max_bytes=1 << 30))
