"""Buckets that replicas share in Redis, without asking it for each request.

Every replica has a copy of each bucket that it charges. A copy can only be too generous, because it lacks what others
charged since its last update. So a replica admits from its copy at most its float: unreported charges of `slack /
replicas` of the bound. It reports to Redis every `REPORT_S`. A request beyond the float is charged in Redis first,
which is exact and takes a round trip. A copy without room refuses at once if it is fresh; otherwise it asks too,
because others may have released something.

Hence, for n replicas that reach Redis: in any period no more is admitted than the bound allows in that time plus
`slack` times the bound (its slots, for concurrency). With `slack` 0, or a bound so small that the float is under one
request, every request asks and the bound is exact. While Redis is away, each replica goes on with a bucket of one n-th
of the bound, and at least one request; together they admit at most n requests over the bound. A Redis that comes back
empty is restored from the replicas' copies, which may lack their floats: `slack` times the bound once more.

Clocks: Redis's clock measures the buckets. Replicas learn how long a bucket takes to be full, never when it is full.

This is written by hand, because the libraries ask Redis for every request, or bound nothing between replicas.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

from enginehouse.kit.tasks import BackgroundTask
from enginehouse.router.ids import new_id
from enginehouse.router.limits._bounds import Bounds
from enginehouse.router.limits._limiter import MINUTE_S, BucketState
from enginehouse.router.redis import RedisUnavailable, SharedRedis

_log = logging.getLogger(__name__)

REPORT_S = 0.02
"""Seconds between two reports to Redis."""
_REPLICA_TTL_MS = 5_000
_MAX_IN_BATCH = 512

# Charges one request, or reports one subject. ARGV: 1 if the charge depends on room in all buckets, the replica, the
# slots' time to live in ms; then for each key its kind and four numbers. For "r" (a rate): microseconds a unit, units
# owed, units to charge, and the microseconds until the bucket is full if Redis does not have it. For "c" (slots): the
# number of slots, those that the replica uses, those that it wants in addition, and 0.
_CHARGE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local conditional, replica, ttl = ARGV[1] == '1', ARGV[2], tonumber(ARGV[3])
local room, found = 1, {}
for i = 1, #KEYS do
  local p = 3 + (i - 1) * 5
  local a, b, c, d = tonumber(ARGV[p + 2]), tonumber(ARGV[p + 3]), tonumber(ARGV[p + 4]), tonumber(ARGV[p + 5])
  if ARGV[p + 1] == 'r' then
    local full = tonumber(redis.call('GET', KEYS[i]) or (now + d))
    full = math.max(full, now) + b * a
    if math.max(full, now) + c * a - now > 60000001 then room = 0 end
    found[i] = full
  else
    local others, all = 0, redis.call('HGETALL', KEYS[i])
    for j = 1, #all, 2 do
      local count, till = string.match(all[j + 1], '^(%d+):(%d+)$')
      if tonumber(till) < now then
        redis.call('HDEL', KEYS[i], all[j])
      elseif all[j] ~= replica then
        others = others + tonumber(count)
      end
    end
    if others + b + c > a then room = 0 end
    found[i] = others
  end
end
local answer = {room}
for i = 1, #KEYS do
  local p = 3 + (i - 1) * 5
  local a, b, c = tonumber(ARGV[p + 2]), tonumber(ARGV[p + 3]), tonumber(ARGV[p + 4])
  if not conditional or room == 0 then c = 0 end
  if ARGV[p + 1] == 'r' then
    local full = found[i]
    if c > 0 then full = math.max(full, now) + c * a end
    if full > now then
      redis.call('SET', KEYS[i], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
    else
      redis.call('DEL', KEYS[i])
    end
    answer[i + 1] = math.floor(full - now)
  else
    if b + c > 0 then
      redis.call('HSET', KEYS[i], replica, string.format('%d:%.0f', b + c, now + ttl * 1000))
      redis.call('PEXPIRE', KEYS[i], ttl)
    else
      redis.call('HDEL', KEYS[i], replica)
    end
    answer[i + 1] = found[i]
  end
end
return answer
"""

# Registers a replica as live; returns the number of live replicas and the id of Redis's memory, which is a new one
# after Redis has lost its data.
_BEAT = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'NX')
return {redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2])}
"""
_REPLICAS_KEY = "eh:limits:replicas"
_MEMORY_KEY = "eh:limits:memory"

_States = Sequence[tuple[BucketState, Bounds]]
# A request that asks; without tokens and future, a report of a subject.
_Call = tuple[_States, int | None, asyncio.Future[bool | None] | None]


class SharedBuckets:
    """The buckets that this replica's limiter shares with other replicas.

    Args:
        redis: holds the buckets.
        replica: this replica's unique name.
        slack: the part of a bound that all replicas together may admit before they report it; 0 to be exact.
        peers: returns the number of replicas as known without Redis, for when Redis is away.
        now_s: the limiter's clock.
        beat_s: seconds between two heartbeats. A replica has no float before its second heartbeat.
        slots_ttl_s: seconds after which a dead replica's slots are free.
    """

    def __init__(
        self,
        *,
        redis: SharedRedis,
        replica: str,
        slack: float,
        peers: Callable[[], int],
        now_s: Callable[[], float],
        beat_s: float = 1.0,
        slots_ttl_s: float = 10.0,
    ) -> None:
        self._beat_s = beat_s
        self._slots_ttl_s = slots_ttl_s
        self._redis = redis
        self._replica = replica
        self._slack = slack
        self._peers = peers
        self._now_s = now_s
        self._known_replicas = 1
        self._joined_s: float | None = None
        self._memory = b""
        self._restore_until_s = 0.0
        self._changed: dict[str, tuple[BucketState, Bounds]] = {}
        self._running: dict[str, tuple[BucketState, Bounds]] = {}
        self._asks: list[_Call] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task = BackgroundTask(self._run, name="shared-limits")
        self._charge_script: AsyncScript | None = None
        self._beat_script: AsyncScript | None = None
        self.asked = 0
        """The number of requests that waited for Redis."""

    @property
    def alone(self) -> bool:
        """True if Redis is away, or this replica has not registered there yet."""
        return self._joined_s is None or not self._redis.up

    @property
    def replicas(self) -> int:
        """The number of replicas that share, including this one."""
        return max(1, self._known_replicas, self._peers() if self.alone else 1)

    @property
    def slack(self) -> float:
        """The slack; 0 until every other replica knows of this one and has reduced its own float."""
        joined = self._joined_s
        return self._slack if joined is not None and self._now_s() > joined + 2 * self._beat_s else 0.0

    def start(self) -> None:
        """Start sharing."""
        self._task.start()

    async def close(self) -> None:
        """Report what is owed, and unregister."""
        # The task is not cancelled, because the driver sometimes loses a cancellation.
        self._closing = True
        self._wake.set()
        await self._task.wait()
        self._answer_all()
        with contextlib.suppress(RedisUnavailable):
            if not self.alone:
                await self._report()
            self._joined_s = None
            await self._redis.ask(lambda client: client.zrem(_REPLICAS_KEY, self._replica))

    def changed(self, state: BucketState, bounds: Bounds) -> None:
        """Report a subject's state soon."""
        self._changed[bounds.subject] = state, bounds
        if bounds.concurrency:
            self._running[bounds.subject] = state, bounds

    async def charge(self, states: _States, tokens: int) -> bool | None:
        """Charge a request in Redis if every bound has room, and update the states.

        Returns False if a bound has no room; None if Redis went away meanwhile.
        """
        self.asked += 1
        future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
        self._asks.append((states, tokens, future))
        self._wake.set()
        try:
            return await future
        except asyncio.CancelledError:
            # The answer may have come in the same instant.
            if future.done() and not future.cancelled() and future.result():
                self._give_back(states, tokens)
            raise

    async def _run(self) -> None:
        beat_s = renew_s = report_s = float("-inf")
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._wake.wait()
            self._wake.clear()
            now = self._now_s()
            try:
                if not self._redis.up:
                    if self._joined_s is not None:
                        self._joined_s = None
                        beat_s = float("-inf")
                    self._answer_all()
                    continue
                if now >= beat_s + self._beat_s or self._joined_s is None:
                    await self._beat()
                    beat_s = now
                if now >= renew_s + self._slots_ttl_s / 3:
                    self._renew()
                    renew_s = now
                if now >= report_s + REPORT_S:
                    await self._report()
                    report_s = now
                while self._asks:
                    await self._send_asks()
            except RedisUnavailable:
                self._answer_all()
            except Exception:
                self._answer_all()
                _log.exception("could not share limits")

    def _answer_all(self) -> None:
        """Let all requests that ask be decided by this replica alone."""
        asks, self._asks = self._asks, []
        _leave_alone(asks)

    async def _beat(self) -> None:
        script = self._beat_script

        async def beat(client: Any) -> list[Any]:
            nonlocal script
            script = script or client.register_script(_BEAT)
            arguments: list[str | int] = [self._replica, _REPLICA_TTL_MS, new_id("memory")]
            answer: list[Any] = await script(keys=[_REPLICAS_KEY, _MEMORY_KEY], args=arguments, client=client)
            return answer

        self._known_replicas, memory = await self._redis.ask(beat)
        self._beat_script = script
        now = self._now_s()
        if memory != self._memory:
            # Redis has lost its data. Restore it from this replica's copies, for as long as the data would have lasted.
            self._restore_until_s = now + MINUTE_S if self._memory else 0.0
            self._memory = memory
        if self._joined_s is None:
            for state, bounds in self._changed.values():
                self._forgive(state, bounds, now)
            self._joined_s = now

    def _forgive(self, state: BucketState, bounds: Bounds, now: float) -> None:
        """Reduce what was charged without Redis to the part that has not refilled since: only that is owed."""
        share = max(1, self._known_replicas)
        if bounds.requests_per_minute:
            interval = min(MINUTE_S, MINUTE_S * share / bounds.requests_per_minute)
            state.requests_owed = min(state.requests_owed, max(0.0, state.requests_at - now) / interval)
        if bounds.tokens_per_minute:
            interval = min(MINUTE_S, MINUTE_S * share / bounds.tokens_per_minute)
            state.tokens_owed = min(state.tokens_owed, max(0.0, state.tokens_at - now) / interval)
        state.active_reported = 0

    def _renew(self) -> None:
        """Report the slots in use again before they expire in Redis."""
        self._running = {
            subject: (state, bounds)
            for subject, (state, bounds) in self._running.items()
            if state.active or state.active_reported
        }
        self._changed.update(self._running)

    async def _report(self) -> None:
        """Report all changes until now."""
        changed, self._changed = self._changed, {}
        calls: list[_Call] = [([change], None, None) for change in changed.values()]
        for at in range(0, len(calls), _MAX_IN_BATCH):
            try:
                await self._send(calls[at : at + _MAX_IN_BATCH])
            except RedisUnavailable:
                unreported = [states[0] for states, _, _ in calls[at:]]
                self._changed = {bounds.subject: (state, bounds) for state, bounds in unreported} | self._changed
                raise

    async def _send_asks(self) -> None:
        asks, self._asks = self._asks[:_MAX_IN_BATCH], self._asks[_MAX_IN_BATCH:]
        try:
            await self._send(asks)
        except BaseException:
            _leave_alone(asks)
            raise

    async def _send(self, calls: Sequence[_Call]) -> None:
        now = self._now_s()
        wanted: dict[int, int] = {}
        restores = now < self._restore_until_s
        commands = []
        owns = []
        for states, tokens, _ in calls:
            keys: list[str] = []
            arguments: list[Any] = ["0" if tokens is None else "1", self._replica, int(self._slots_ttl_s * 1000)]
            for state, bounds in states:
                # Count the requests before this one in the batch, which may be admitted by then.
                owns.append(state.active + wanted.get(id(state), 0))
                _describe(state, bounds, tokens, owns[-1], now if restores else None, keys, arguments)
                if tokens is not None:
                    wanted[id(state)] = wanted.get(id(state), 0) + 1
            commands.append((keys, arguments))

        async def send(client: Any) -> list[Any]:
            script = self._charge_script = self._charge_script or client.register_script(_CHARGE)
            while True:
                pipeline = client.pipeline(transaction=False)
                for keys, arguments in commands:
                    pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
                answers: list[Any] = await pipeline.execute(raise_on_error=False)
                # After a restart Redis has no scripts, and then none of these commands ran.
                if not isinstance(answers[0], NoScriptError):
                    return answers
                await client.script_load(_CHARGE)

        touched = {id(state): (state, bounds) for states, _, _ in calls for state, bounds in states}
        try:
            answers = await self._redis.ask(send)
        except BaseException:
            for state, bounds in touched.values():
                state.requests_owed += state.requests_sent
                state.tokens_owed += state.tokens_sent
                state.requests_sent = state.tokens_sent = 0.0
                self._changed[bounds.subject] = state, bounds
            raise
        for state, _ in touched.values():
            state.requests_sent = state.tokens_sent = 0.0
        reported = iter(owns)
        for (states, tokens, future), answer in zip(calls, answers, strict=True):
            of_call = [next(reported) for _ in states]
            if isinstance(answer, Exception):
                _log.error("Redis refused a charge", extra={"error": str(answer)[:200]})
                if future is not None and not future.done():
                    future.set_result(None)
                continue
            admitted = bool(answer[0]) and tokens is not None
            _update(states, answer[1:], now, admitted)
            for (state, bounds), own in zip(states, of_call, strict=True):
                if bounds.concurrency:
                    state.active_reported = own + admitted
            if future is None:
                continue
            if not future.done():
                future.set_result(admitted)
            elif admitted:
                self._give_back(states, tokens or 0)
        for state, bounds in touched.values():
            if state.active_reported != state.active and bounds.concurrency:
                self.changed(state, bounds)

    def _give_back(self, states: _States, tokens: int) -> None:
        """Return the charge of a request whose caller went away meanwhile."""
        for state, bounds in states:
            if bounds.requests_per_minute:
                state.requests_owed -= 1
                state.requests_at -= MINUTE_S / bounds.requests_per_minute
            if bounds.tokens_per_minute:
                state.tokens_owed -= tokens
                state.tokens_at -= tokens * MINUTE_S / bounds.tokens_per_minute
            if bounds.concurrency:
                state.active -= 1
            self.changed(state, bounds)


def _describe(
    state: BucketState,
    bounds: Bounds,
    tokens: int | None,
    own: int,
    restores_s: float | None,
    keys: list[str],
    arguments: list[Any],
) -> None:
    """Add a subject's keys and numbers to a call, and mark what it owes as sent.

    With `restores_s`, the time now, the call also carries the replica's copy, for a Redis that has lost its data.
    """
    asks = tokens is not None
    if bounds.requests_per_minute:
        keys.append(f"eh:limits:r:{bounds.subject}")
        interval_us = MINUTE_S * 1e6 / bounds.requests_per_minute
        known = 0.0
        if restores_s is not None:
            known = (state.requests_at - restores_s) * 1e6 - state.requests_owed * interval_us
        arguments += ["r", repr(interval_us), repr(state.requests_owed), int(asks), repr(known)]
        state.requests_sent += state.requests_owed
        state.requests_owed = 0.0
    if bounds.tokens_per_minute:
        keys.append(f"eh:limits:t:{bounds.subject}")
        interval_us = MINUTE_S * 1e6 / bounds.tokens_per_minute
        known = 0.0
        if restores_s is not None:
            known = (state.tokens_at - restores_s) * 1e6 - state.tokens_owed * interval_us
        arguments += ["r", repr(interval_us), repr(state.tokens_owed), tokens or 0, repr(known)]
        state.tokens_sent += state.tokens_owed
        state.tokens_owed = 0.0
    if bounds.concurrency:
        keys.append(f"eh:limits:c:{bounds.subject}")
        arguments += ["c", bounds.concurrency, own, int(asks), 0]


def _update(states: _States, found: Sequence[int], sent_s: float, admitted: bool) -> None:
    """Update the copies from an answer, as of the time of the question: so a copy is never too strict."""
    values = iter(found)
    for state, bounds in states:
        state.updated_s = sent_s
        if bounds.requests_per_minute:
            interval = MINUTE_S / bounds.requests_per_minute
            state.requests_at = sent_s + next(values) / 1e6 + state.requests_owed * interval
        if bounds.tokens_per_minute:
            interval = MINUTE_S / bounds.tokens_per_minute
            state.tokens_at = sent_s + next(values) / 1e6 + state.tokens_owed * interval
        if bounds.concurrency:
            state.active_elsewhere = next(values)
            state.active += admitted


def _leave_alone(asks: Sequence[_Call]) -> None:
    for _, _, future in asks:
        if future is not None and not future.done():
            future.set_result(None)
