"""Answers that routers share over Redis. If Redis is away, slow or full, a lookup is a miss, never an error."""

from __future__ import annotations

import asyncio

from enginehouse.router.cache._memory import CachedAnswer
from enginehouse.router.clock import Clock
from enginehouse.router.redis import RedisUnavailable, SharedRedis

_PREFIX = b"eh:cache:"
_MAKING = b"eh:cache-making:"
_HEAD_BYTES = 8


class SharedAnswers:
    """The answers in Redis, each under its key with its time to live.

    Args:
        redis: the connection.
        timeout_s: seconds that a lookup may take.
        max_bytes: the largest value that is read; no router writes larger ones.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(self, *, redis: SharedRedis, timeout_s: float, max_bytes: int, clock: Clock) -> None:
        self._redis = redis
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._clock = clock

    @property
    def up(self) -> bool:
        """True if Redis answers."""
        return self._redis.up

    async def get(self, key: bytes) -> CachedAnswer | None:
        """Return the answer, if Redis has it and replies in time."""
        if not self._redis.up:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await self._redis.ask(lambda client: client.get(_PREFIX + key))
        except (RedisUnavailable, TimeoutError):
            return None
        if not isinstance(value, bytes) or not _HEAD_BYTES < len(value) <= self._max_bytes + _HEAD_BYTES:
            return None
        kept = CachedAnswer(value[_HEAD_BYTES:], int.from_bytes(value[:_HEAD_BYTES], "big"))
        return kept if kept.expires_at_ms > self._clock() else None

    async def put(self, key: bytes, kept: CachedAnswer) -> None:
        """Keep an answer, if Redis is up."""
        left_ms = kept.expires_at_ms - self._clock()
        if left_ms <= 0 or not self._redis.up:
            return
        value = kept.expires_at_ms.to_bytes(_HEAD_BYTES, "big") + kept.data
        try:
            await self._redis.ask(lambda client: client.set(_PREFIX + key, value, px=left_ms))
        except RedisUnavailable:
            return

    async def claim(self, key: bytes, engine_id: str, *, wait_ms: int) -> str:
        """Claim an answer for an engine that is about to make it.

        Returns the engine that is making it already for another router; empty if the claim succeeds.
        """
        if not self._redis.up:
            return ""
        try:
            async with asyncio.timeout(self._timeout_s):
                name = _MAKING + key
                if await self._redis.ask(lambda client: client.set(name, engine_id.encode(), nx=True, px=wait_ms)):
                    return ""
                return await self.made_by(key)
        except (RedisUnavailable, TimeoutError):
            return ""

    async def made_by(self, key: bytes) -> str:
        """Return the engine that is making an answer for some router; empty if none is. Raises RedisUnavailable."""
        value = await self._redis.ask(lambda client: client.get(_MAKING + key))
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""

    async def release(self, key: bytes) -> None:
        """Release a claim: nobody is making the answer any more."""
        try:
            await self._redis.ask(lambda client: client.delete(_MAKING + key))
        except RedisUnavailable:
            return
