"""Decode in other processes, so that a file which crashes a decoder crashes nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from enginehouse.engines.voice.audio._pcm import pcm_samples
from enginehouse.engines.voice.audio.decoding import _protocol
from enginehouse.engines.voice.audio.decoding._limits import MediaError, MediaLimits
from enginehouse.engines.voice.audio.decoding._media import MAX_RATE, MediaInfo
from enginehouse.engines.voice.workers import DONE, WorkerDied, WorkerPool

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

_MODULE = "enginehouse.engines.voice.audio.decoding._child"


class DecoderPool:
    """Decoder processes on one event loop. They are kept between files, and replaced after a failure.

    Args:
        size: the maximum number of files at once; further callers wait, in order.
        max_memory: bytes of address space that decoding may take in each.
        max_file_bytes: the maximum size of a file, whatever a call's limits say.
        nice: the difference between the engine's priority and theirs.
    """

    def __init__(
        self, *, size: int, max_memory: int = 512 << 20, max_file_bytes: int = 25 << 20, nice: int = 0
    ) -> None:
        self._max_file_bytes = max_file_bytes
        self._closed = False
        self._workers = WorkerPool(
            module=_MODULE,
            size=size,
            name="decoder",
            arguments=[str(max_memory)],
            nice=nice,
            max_frame_bytes=max(max_file_bytes, 1 << 20),
        )

    async def start(self) -> None:
        """Start a first process; raise WorkerError if it does not work."""
        await self._workers.start()

    async def close(self) -> None:
        """Stop all processes. Files that are being decoded fail with WorkerError."""
        self._closed = True
        await self._workers.close()

    async def decode(self, data: bytes, *, rate: int, limits: MediaLimits) -> AsyncGenerator[Samples, None]:
        """Yield the audio of a file at `rate` samples a second, in parts of half a second.

        The decoder runs at most a second or two ahead of the reader. Closing the generator ends the work and frees its
        process at once.

        Raises MediaError as `decode` does, and if the file makes the decoder crash, run out of memory, or take longer
        than the limits allow; WorkerError if no process is available.
        """
        async with contextlib.aclosing(self._answers(_protocol.DECODE, data, rate=rate, limits=limits)) as answers:
            async for _, payload in answers:
                yield pcm_samples(payload)

    async def probe(self, data: bytes, *, limits: MediaLimits) -> MediaInfo:
        """Return what a file's header says of it. Raises as `decode`."""
        async with contextlib.aclosing(self._answers(_protocol.PROBE, data, rate=1, limits=limits)) as answers:
            info = [MediaInfo(**json.loads(payload)) async for _, payload in answers]
        return info[0]

    async def _answers(
        self, kind: int, data: bytes, *, rate: int, limits: MediaLimits
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        limits.check_size(data)
        if len(data) > self._max_file_bytes:
            raise MediaError(f"the file has {len(data):,} bytes; at most {self._max_file_bytes:,} are accepted")
        if not 0 < rate <= MAX_RATE:
            raise ValueError(f"invalid sample rate: {rate}; must be 1 to {MAX_RATE:,}")
        job = _protocol.JOB.pack(rate, limits.max_bytes, limits.max_seconds, limits.max_cpu_s)
        refused = ""
        clock = _Clock(limits.max_wait_s)
        try:
            async with self._workers.worker() as worker:
                async with clock.running():
                    await worker.send(_protocol.SETTINGS, job)
                    await worker.send(kind, data)
                unfinished = 2
                while unfinished:
                    async with clock.running():
                        answer, payload = await worker.receive()
                    if answer == DONE:
                        unfinished -= 1
                    elif answer == _protocol.ERROR:
                        refused = payload.decode()
                    elif answer == _protocol.FATAL:
                        # Leaving the block by an exception ends the process.
                        raise MediaError(payload.decode())
                    else:
                        yield answer, payload
        except TimeoutError as error:
            raise MediaError(f"decoding the file takes more than {limits.max_wait_s:g} seconds") from error
        except WorkerDied as error:
            if self._closed:
                raise
            raise _crash(error, limits) from error
        if refused:
            raise MediaError(refused)


class _Clock:
    """A time budget that is spent only while somebody waits; raises TimeoutError when it is used up."""

    def __init__(self, seconds: float) -> None:
        self._left_s = seconds

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Run for the length of the block."""
        clock = asyncio.get_running_loop().time
        started = clock()
        async with asyncio.timeout(self._left_s):
            yield
        self._left_s -= clock() - started


def _crash(error: WorkerDied, limits: MediaLimits) -> MediaError:
    if error.signal_name == "SIGXCPU":
        return MediaError(f"decoding the file takes more than {limits.max_cpu_s} seconds of processor time")
    cause = error.signal_name or f"status {error.returncode}"
    return MediaError(f"the file made the decoder crash ({cause}); convert it to WAV or FLAC and send that")
