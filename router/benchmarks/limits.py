"""The cost of a limit to a decision: alone, shared over Redis with slack, and shared exactly.

Run: `python router/benchmarks/limits.py --redis redis://... [--calls N]`. Two replicas in one process, 64 requests at a
time, each with two limits on requests and one on concurrency; the time is the process's for each request.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from enginehouse.router.ids import new_id
from enginehouse.router.limits import Bounds, Limiter, SharedBuckets
from enginehouse.router.redis import SharedRedis

_AT_ONCE = 64
_LIMIT = 1_000_000


async def _measure(limiters: list[Limiter], calls: int) -> float:
    """Microseconds for each request."""
    bounds = [Bounds(new_id("key"), "key", _LIMIT, 0, 0), Bounds(new_id("ten"), "tenant", _LIMIT, 0, _LIMIT)]

    async def send(limiter: Limiter) -> None:
        for _ in range(calls // _AT_ONCE):
            (await limiter.admit(bounds, tokens=0)).release(0)
            await asyncio.sleep(0)

    began = time.perf_counter()
    await asyncio.gather(*(send(limiters[at % len(limiters)]) for at in range(_AT_ONCE)))
    return (time.perf_counter() - began) / calls * 1e6


async def _shared(url: str, slack: float, calls: int) -> tuple[float, float]:
    """Microseconds for each request, and the part of them that asked Redis."""
    redis = [SharedRedis(url=url) for _ in range(2)]
    buckets = [
        SharedBuckets(redis=connection, replica=new_id("bench"), slack=slack, peers=lambda: 2, now_s=time.monotonic)
        for connection in redis
    ]
    for each in (*redis, *buckets):
        each.start()
    # Until every replica knows of the other and has its float.
    await asyncio.sleep(4)
    if any(bucket.alone or bucket.slack != slack or bucket.replicas != 2 for bucket in buckets):
        raise SystemExit("Redis does not answer")
    taken = await _measure([Limiter(now_s=time.monotonic, sharing=bucket) for bucket in buckets], calls)
    asked = sum(bucket.asked for bucket in buckets) / calls
    for closing in (*buckets, *redis):
        await closing.close()
    return taken, asked


async def _main(url: str, calls: int) -> None:
    alone = await _measure([Limiter(now_s=time.monotonic)], calls)
    sys.stdout.write(f"alone                 {alone:7.1f} us a request\n")
    for slack in (0.1, 0.0):
        taken, asked = await _shared(url, slack, calls)
        sys.stdout.write(f"shared, slack {slack:4.0%}    {taken:7.1f} us a request, {asked:4.0%} asked Redis\n")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", required=True, help="the address of a Redis")
    parser.add_argument("--calls", type=int, default=64_000, help="requests for each kind")
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.redis, arguments.calls))
    return 0


if __name__ == "__main__":
    sys.exit(main())
