"""A connection to Redis that knows whether Redis is there.

While Redis is away every use fails at once, without a wait, and one task looks for it with a back-off. Callers treat
`RedisUnavailable` as "go on alone": no request fails because Redis is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

import redis.asyncio as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, ReadOnlyError, RedisError, ResponseError

from enginehouse.kit.tasks import BackgroundTask

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_PROBE_S = 1.0
_FIRST_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 2.0
_SCHEMES = ("redis", "rediss", "unix")


class RedisUnavailable(Exception):
    """Redis does not answer, or not in time. Its message names no address and no password."""


class SharedRedis:
    """One pool of connections, shared by whatever keeps something in Redis.

    `up` is False until the first answer. `ask` takes a function that is given redis-py's client:

        found = await redis.ask(lambda client: client.get("eh:cache:..."))

    Keys begin with `eh:` and the name of the area that owns them.

    Args:
        url: `redis://[user:password@]host:port/db`, `rediss://...` or `unix:///path`; may hold a password.
        timeout_s: how long one use may take before Redis counts as away.
    """

    def __init__(self, *, url: str, timeout_s: float = 0.5) -> None:
        self._timeout_s = timeout_s
        # One retry: a connection that lay idle over a restart of Redis is dead, the next one is not.
        self._client = driver.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),
            max_connections=64,
            client_name="enginehouse",
        )
        self.up = False
        """True if Redis answered last."""
        self.failures = 0
        """The number of uses that found it unavailable."""
        self._lost = asyncio.Event()
        self._closing = False
        self._task = BackgroundTask(self._watch, name="redis-watch")

    def start(self) -> None:
        """Start looking for Redis. Until it is found, `ask` raises RedisUnavailable."""
        self._task.start()

    async def close(self) -> None:
        """Close every connection."""
        # Not cancelled: the driver loses a cancellation now and then.
        self._closing = True
        self._lost.set()
        await self._task.wait()
        self.up = False
        with contextlib.suppress(OSError, RedisError):
            await self._client.aclose()

    async def ask(self, operation: Callable[[driver.Redis], Awaitable[_T]]) -> _T:
        """Return the operation's result.

        Raises:
            RedisUnavailable: Redis is known to be away (at once), or did not answer in time.
            redis.exceptions.ResponseError: Redis answered that the command is wrong, which is a defect of ours.
        """
        if not self.up:
            raise RedisUnavailable("Redis is away")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await operation(self._client)
        except (OSError, TimeoutError, RedisError) as error:
            if isinstance(error, ResponseError) and not _is_absence(error):
                raise
            self.failures += 1
            if self.up:
                self.up = False
                _log.warning("Redis is unavailable; going on alone", extra={"error": type(error).__name__})
            self._lost.set()
            raise RedisUnavailable(f"Redis does not answer ({type(error).__name__})") from None

    async def _watch(self) -> None:
        backoff, told = _FIRST_BACKOFF_S, False
        while not self._closing:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._client.ping()
            except (OSError, TimeoutError, RedisError) as error:
                if self.up or not told:
                    # The kind alone: some messages name the address, and an address may hold a password.
                    _log.warning(
                        "Redis is unavailable; this replica goes on alone", extra={"error": type(error).__name__}
                    )
                    told = True
                self.up = False
                await self._pause(backoff)
                backoff = min(backoff * 2, _MAX_BACKOFF_S)
                continue
            if not self.up:
                _log.info("Redis is here")
            self.up, backoff, told = True, _FIRST_BACKOFF_S, True
            await self._pause(_PROBE_S)

    async def _pause(self, seconds: float) -> None:
        """Wait, but end early when a use finds Redis unavailable or this closes."""
        if not self._closing:
            self._lost.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._lost.wait()


def check_redis_url(url: str) -> str:
    """The URL as given; an empty one means no Redis. Raises ValueError, without the URL, for one that is none."""
    if not url:
        return url
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and bool(parts.path if parts.scheme == "unix" else parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            "redis_url cannot be read; write redis://user:password@host:6379/0, rediss://... or unix:///path"
        )
    return url


def _is_absence(error: ResponseError) -> bool:
    """Return whether the error says that it can't serve now, or not us."""
    return isinstance(error, (AuthenticationError, BusyLoadingError, ReadOnlyError)) or str(error).startswith(
        ("OOM", "MASTERDOWN", "NOAUTH", "NOPERM", "CLUSTERDOWN", "MISCONF", "UNKILLABLE", "BUSY")
    )
