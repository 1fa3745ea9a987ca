"""The decoder pool isolates the engine from files."""

from __future__ import annotations

import asyncio
import os
import signal

import numpy as np
import pytest

from enginehouse.engines.voice.audio import DecoderPool, MediaError, MediaLimits, pcm_bytes
from enginehouse.engines.voice.workers import WorkerError
from engines.voice.tests.audio.decoding.decoders import SHORT, children, decoded
from engines.voice.tests.audio.sounds import LIMITS, heard, media, noise, subtitled, tone, wav


@pytest.mark.parametrize(("container", "codec"), [("wav", "pcm_s16le"), ("mp3", "libmp3lame"), ("ogg", "libopus")])
async def test_it_decodes_what_decode_does(pool: DecoderPool, container: str, codec: str) -> None:
    data = media(container, codec, seconds=3)
    assert np.array_equal(await decoded(pool, data), heard(data))


async def test_a_film_with_subtitles_is_read(pool: DecoderPool) -> None:
    """Everything is loaded before the process loses the right to open files."""
    film = subtitled(media("mp4", "aac", video="libx264", seconds=1))
    assert len(await decoded(pool, film)) == pytest.approx(16_000, abs=1_000)


async def test_a_process_is_reused_even_after_a_refusal(pool: DecoderPool) -> None:
    await pool.start()
    (first,) = children()
    for _ in range(2):
        assert len(await decoded(pool, SHORT)) == 16_000
        with pytest.raises(MediaError, match="look like a ZIP archive"):
            await decoded(pool, b"PK\x03\x04" + bytes(100))
        with pytest.raises(MediaError, match=r"longer than 0\.25 seconds"):
            await decoded(pool, SHORT, limits=MediaLimits(max_seconds=0.25))
    assert (await pool.probe(SHORT, limits=LIMITS)).claimed_seconds == 1
    with pytest.raises(MediaError, match="the file is empty"):
        await pool.probe(b"", limits=LIMITS)
    with pytest.raises(MediaError, match="at most 100 are accepted"):
        await decoded(pool, SHORT, limits=MediaLimits(max_bytes=100))
    assert children() == [first]


async def test_audio_before_the_limit_arrives(pool: DecoderPool) -> None:
    got = 0
    with pytest.raises(MediaError, match="longer than 2 seconds"):
        async for samples in pool.decode(
            wav(pcm_bytes(tone(440, 5, 16_000))), rate=16_000, limits=MediaLimits(max_seconds=2)
        ):
            got += len(samples)
    assert got == pytest.approx(2 * 16_000, abs=2_000)
    assert got <= 2 * 16_000


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL"])
async def test_a_crash_is_an_error_of_its_file_alone(pool: DecoderPool, name: str) -> None:
    answers = pool.decode(wav(pcm_bytes(tone(440, 100, 16_000))), rate=16_000, limits=LIMITS)
    await anext(answers)
    (child,) = children()
    # Like an exploited parser, in the middle of the work.
    os.kill(child.pid, signal.Signals[name])
    with pytest.raises(MediaError, match=rf"the file made the decoder crash \({name}\)"):
        async for _ in answers:
            pass
    assert len(await decoded(pool, SHORT)) == 16_000


async def test_closing_the_generator_frees_the_process_at_once(pool: DecoderPool) -> None:
    answers = pool.decode(wav(pcm_bytes(tone(440, 100, 16_000))), rate=16_000, limits=LIMITS)
    await anext(answers)
    (child,) = children()
    await answers.aclose()
    assert len(await decoded(pool, SHORT)) == 16_000
    assert child.pid not in [other.pid for other in children()]


async def test_a_cancelled_caller_frees_the_process_at_once(pool: DecoderPool) -> None:
    begun = asyncio.Event()

    async def listen() -> None:
        async for _ in pool.decode(wav(pcm_bytes(tone(440, 100, 16_000))), rate=16_000, limits=LIMITS):
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(listen())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await decoded(pool, SHORT)) == 16_000


async def test_callers_take_turns() -> None:
    pool = DecoderPool(size=2)
    done: list[int] = []

    async def work(index: int) -> None:
        assert len(await decoded(pool, SHORT)) == 16_000
        done.append(index)
        assert len(children()) <= 2

    await asyncio.gather(*(work(index) for index in range(12)))
    assert sorted(done) == list(range(12))
    await pool.close()


async def test_close_fails_what_runs_and_what_comes() -> None:
    pool = DecoderPool(size=1)
    answers = pool.decode(wav(pcm_bytes(noise(100, 16_000, level=1_000))), rate=16_000, limits=LIMITS)
    await anext(answers)
    closing = asyncio.create_task(pool.close())
    with pytest.raises(WorkerError):
        async for _ in answers:
            pass
    await closing
    with pytest.raises(WorkerError, match="the decoder pool is closed"):
        await decoded(pool, SHORT)
    assert children() == []
