"""Many concurrent open streams, and the mesh's memory meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc

CHANNELS = 4
OPEN_S = 60.0
OPENING = 32


@dataclass(frozen=True, kw_only=True)
class Held:
    """Figures of the time in which the streams were open."""

    streams: int
    """The number of streams that were open, all begun and none ended, at the end of the measurement."""
    memory_before: Mapping[str, int]
    """Bytes by process once all streams were open."""
    memory_after: Mapping[str, int]
    """Bytes by process at the end."""

    @property
    def growth(self) -> float:
        """Growth of the whole mesh's memory, as a fraction."""
        return sum(self.memory_after.values()) / sum(self.memory_before.values()) - 1


async def hold_streams(
    *,
    target: str,
    key: str,
    model: str,
    streams: int,
    seconds: float,
    memory: Callable[[], Mapping[str, int]],
) -> Held:
    """Open streams, wait until each has its first token, and sample memory for the duration."""
    begun = 0
    ended = 0
    all_begun = asyncio.Event()
    opening = asyncio.Semaphore(OPENING)

    async def one(stub: generation_pb2_grpc.GenerationServiceAsyncStub) -> None:
        nonlocal begun, ended
        # One after the other, nearly: what is measured is holding them, not a stampede.
        await opening.acquire()
        request = generation_pb2.GenerateRequest(model=model, prompt="hold on", max_output_tokens=100_000)
        first = True
        try:
            async for _ in stub.Generate(request, metadata=(("authorization", f"Bearer {key}"),)):
                if first:
                    first = False
                    opening.release()
                    begun += 1
                    if begun == streams:
                        all_begun.set()
        finally:
            ended += 1

    channels = [
        grpc.aio.insecure_channel(target, options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(CHANNELS)
    ]
    stubs: list[generation_pb2_grpc.GenerationServiceAsyncStub] = [
        generation_pb2_grpc.GenerationServiceStub(channel) for channel in channels
    ]
    tasks = [asyncio.create_task(one(stubs[number % CHANNELS])) for number in range(streams)]
    try:
        async with asyncio.timeout(OPEN_S):
            failing = asyncio.ensure_future(_first_failure(tasks))
            begins = asyncio.ensure_future(all_begun.wait())
            await asyncio.wait((begins, failing), return_when=asyncio.FIRST_COMPLETED)
            if failing.done():
                begins.cancel()
                failing.result()
            failing.cancel()
        before = memory()
        await asyncio.sleep(seconds)
        return Held(streams=begun - ended, memory_before=before, memory_after=memory())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in channels:
            await channel.close()


async def _first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Raise the error of the first stream that ended."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    raise RuntimeError("a stream ended before all were open")
