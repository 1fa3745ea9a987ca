"""The limiter: it charges requests, tokens and slots in memory, to all of a request's bounds or to none.

Rates use GCRA: a bucket of one minute's worth that refills evenly, kept as one number, its theoretical arrival time.

Without Redis, a replica's buckets are exact. With Redis they are copies, which may lag (see `_shared`). A replica then
admits from its copies only a float, the amount that Redis need not know of yet; a request beyond the float asks Redis
first. While Redis is away, each replica has its share of every bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.tasks import in_task
from enginehouse.router.limits._bounds import Bounds, Quota

MINUTE_S = 60.0
FRESH_S = 0.02
"""The greatest age, in seconds, of the state of other replicas at which a request is refused because of it."""
WAIT_S = 0.25
"""How long, in seconds, a request waits for a slot before it is refused for want of one.

A slot is free once the engine's report of the answer has arrived, which may be a moment after the answer has: a client
that sends one request after the other must not be refused for that moment.
"""
_ROUNDING_S = 1e-9


@dataclasses.dataclass(slots=True)
class BucketState:
    """One subject's state on this replica. Times are the limiter's clock, in seconds.

    Attributes:
        requests_at: the time at which the bucket of requests will be full again.
        tokens_at: the same for tokens.
        active: the requests that run on this replica.
        requests_owed: requests that were charged here and not yet reported to Redis.
        tokens_owed: the same for tokens.
        requests_sent: requests whose report to Redis has not been answered yet.
        tokens_sent: the same for tokens.
        active_reported: the number of running requests that was last reported to Redis.
        active_elsewhere: the requests that run on other replicas.
        updated_s: the time of which the state in Redis is known.
    """

    requests_at: float = 0.0
    tokens_at: float = 0.0
    active: int = 0
    requests_owed: float = 0.0
    tokens_owed: float = 0.0
    requests_sent: float = 0.0
    tokens_sent: float = 0.0
    active_reported: int = 0
    active_elsewhere: int = 0
    updated_s: float = float("-inf")


class LimitReservation:
    """An admitted request's part of its limits. `release` returns it, once."""

    __slots__ = ("_charged", "_limiter", "_states", "_tokens", "quota")

    def __init__(
        self, limiter: Limiter, states: Sequence[tuple[BucketState, Bounds]], tokens: int, quota: Quota | None
    ) -> None:
        self._limiter = limiter
        self._states = states
        self._tokens = tokens
        self._charged = True
        self.quota = quota

    def release(self, tokens_used: int | None) -> None:
        """Free the slots, and correct the charged tokens to those used, if they are known."""
        if not self._charged:
            return
        self._charged = False
        for state, bounds in self._states:
            if bounds.concurrency:
                state.active -= 1
            if bounds.tokens_per_minute and tokens_used is not None:
                self._limiter.correct_tokens(state, bounds, tokens_used - self._tokens)
            self._limiter.changed(state, bounds)
            if bounds.concurrency:
                self._limiter.freed(bounds)

    def cancel(self) -> None:
        """Return everything that was charged, as if the request had never come."""
        if not self._charged:
            return
        self.release(0)
        for state, bounds in self._states:
            if bounds.requests_per_minute:
                self._limiter.correct_requests(state, bounds, -1)


class Sharing(Protocol):
    """The buckets that replicas share, as a limiter uses them."""

    @property
    def alone(self) -> bool:
        """True if this replica must decide alone now."""

    @property
    def replicas(self) -> int:
        """The number of replicas that share, as far as is known, including this one."""

    @property
    def slack(self) -> float:
        """The part of a bound that all replicas together may admit before they report it."""

    def changed(self, state: BucketState, bounds: Bounds) -> None:
        """Report a subject's state soon."""

    async def charge(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int) -> bool | None:
        """Charge a request in Redis if every bound has room, and update the states.

        Returns False if a bound has no room; None if Redis gave no answer, and the replica must decide alone.
        """


class Limiter:
    """The limits of all subjects.

    Args:
        now_s: a monotonic clock in seconds.
        sharing: the buckets shared with other replicas; None if this replica is the only one.
        pause: returns after that many seconds.
    """

    def __init__(
        self,
        *,
        now_s: Callable[[], float],
        sharing: Sharing | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._now_s = now_s
        self._sharing = sharing
        self._pause = pause
        self._states: dict[str, BucketState] = {}
        self._waiting: dict[str, deque[_Waiter]] = {}

    async def admit(self, subjects: Sequence[Bounds], *, tokens: int) -> LimitReservation:
        """Charge the request to every bound, or raise the typed error of the first bound without room.

        This waits for nothing without Redis, nor with Redis as long as the float lasts; but for a slot it waits up to
        `WAIT_S` before it refuses. No more requests wait than there are slots, so a flood is refused at once.

        Raises:
            ServiceError: CONCURRENCY_LIMITED, RATE_LIMITED or TOKENS_LIMITED.
        """
        if not subjects:
            return LimitReservation(self, (), 0, None)
        states = [(self._state_of(bounds.subject), bounds) for bounds in subjects]
        try:
            if self._sharing is None:
                self._check(states, tokens)
                return self._reserve(states, tokens, charge=True)
            return await self._attempt(states, tokens)
        except _SlotsTaken as refused:
            return await self._wait(states, tokens, refused)

    def freed(self, bounds: Bounds) -> None:
        """Let the request that waits longest for a slot of this subject try again."""
        if self._waiting:
            _wake(self._waiting.get(bounds.subject, ()))

    async def _wait(
        self, states: Sequence[tuple[BucketState, Bounds]], tokens: int, refused: _SlotsTaken
    ) -> LimitReservation:
        queues = {
            bounds.subject: self._waiting.get(bounds.subject, deque()) for _, bounds in states if bounds.concurrency
        }
        if any(len(queues[bounds.subject]) >= bounds.concurrency for _, bounds in states if bounds.concurrency):
            raise refused
        waiter = _Waiter()
        for subject, queue in queues.items():
            self._waiting[subject] = queue
            queue.append(waiter)
        with _timer(self._pause, WAIT_S) as deadline:
            try:
                while True:
                    waiter.turn = asyncio.get_running_loop().create_future()
                    # A slot that another replica frees is found only by asking.
                    with _timer(self._pause, FRESH_S if self._sharing is not None else WAIT_S) as poll:
                        await asyncio.wait([waiter.turn, deadline, poll], return_when=asyncio.FIRST_COMPLETED)
                    try:
                        admitted = await self._attempt(states, tokens)
                        waiter.turn = None
                        return admitted
                    except _SlotsTaken as again:
                        refused = again
                    if deadline.done():
                        raise refused
                    if waiter.woken:
                        # It lacks another slot than that for which it was woken: this one is for the next in line.
                        for queue in queues.values():
                            _wake(queue, after=waiter)
            finally:
                for subject, queue in queues.items():
                    queue.remove(waiter)
                    if waiter.woken:
                        _wake(queue)
                    if not queue and self._waiting.get(subject) is queue:
                        del self._waiting[subject]

    async def _attempt(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int) -> LimitReservation:
        sharing = self._sharing
        try:
            self._check(states, tokens)
            asks = sharing is not None and not sharing.alone and self._beyond_float(states, tokens, sharing)
        except ServiceError as refused:
            # Other replicas may have released something since: ask, but not for each request of a flood.
            asks = sharing is not None and not sharing.alone and refused.retry_after_s is not None
            if not asks or self._now_s() < min(state.updated_s for state, _ in states) + FRESH_S:
                raise
        if sharing is not None and asks:
            await in_task()
            admitted = await sharing.charge(states, tokens)
            if admitted:
                return self._reserve(states, tokens, charge=False)
            # The updated states give the reason of the refusal; if Redis gave no answer, they decide.
            self._check(states, tokens)
            if admitted is False:
                raise _refusal_of_rounding(states)
        return self._reserve(states, tokens, charge=True)

    def prune(self) -> None:
        """Drop subjects without running requests and unreported charges whose buckets are full."""
        now = self._now_s()
        self._states = {
            subject: state
            for subject, state in self._states.items()
            if state.active
            or state.active_reported
            or state.requests_at > now
            or state.tokens_at > now
            or state.requests_owed
            or state.tokens_owed
            or state.requests_sent
            or state.tokens_sent
        }

    def __len__(self) -> int:
        return len(self._states)

    def correct_requests(self, state: BucketState, bounds: Bounds, requests: float) -> None:
        """Correct the charged requests by a difference."""
        state.requests_at += requests * self._interval(bounds.requests_per_minute)
        state.requests_owed += requests

    def correct_tokens(self, state: BucketState, bounds: Bounds, tokens: float) -> None:
        """Correct the charged tokens by a difference."""
        state.tokens_at += tokens * self._interval(bounds.tokens_per_minute)
        state.tokens_owed += tokens

    def changed(self, state: BucketState, bounds: Bounds) -> None:
        """Report a subject's state to the other replicas soon."""
        if self._sharing is not None:
            self._sharing.changed(state, bounds)
        else:
            state.requests_owed = state.tokens_owed = 0.0

    def _state_of(self, subject: str) -> BucketState:
        state = self._states.get(subject)
        if state is None:
            state = self._states[subject] = BucketState()
        return state

    def _interval(self, per_minute: int) -> float:
        """Return the seconds in which one unit refills; more for a replica that has only its share."""
        sharing = self._sharing
        if sharing is None or not sharing.alone:
            return MINUTE_S / per_minute
        return min(MINUTE_S, MINUTE_S * sharing.replicas / per_minute)

    def _beyond_float(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int, sharing: Sharing) -> bool:
        share = sharing.slack / sharing.replicas
        for state, bounds in states:
            if bounds.requests_per_minute and (
                state.requests_owed + state.requests_sent + 1 > bounds.requests_per_minute * share
            ):
                return True
            if bounds.tokens_per_minute and (
                state.tokens_owed + state.tokens_sent + tokens > bounds.tokens_per_minute * share
            ):
                return True
            if bounds.concurrency and state.active - state.active_reported + 1 > bounds.concurrency * share:
                return True
        return False

    def _reserve(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int, *, charge: bool) -> LimitReservation:
        now = self._now_s()
        quota: Quota | None = None
        for state, bounds in states:
            if charge:
                self._charge(state, bounds, tokens, now)
            if bounds.requests_per_minute:
                ahead = max(0.0, state.requests_at - now)
                left = int((MINUTE_S - ahead) / self._interval(bounds.requests_per_minute) + 1e-9)
                if quota is None or left < quota.remaining:
                    quota = Quota(bounds.requests_per_minute, left, ahead)
        return LimitReservation(self, states, tokens, quota)

    def _charge(self, state: BucketState, bounds: Bounds, tokens: int, now: float) -> None:
        if bounds.concurrency:
            state.active += 1
        if bounds.tokens_per_minute:
            at = state.tokens_at
            state.tokens_at = (at if at > now else now) + tokens * self._interval(bounds.tokens_per_minute)
        if bounds.requests_per_minute:
            at = state.requests_at
            state.requests_at = (at if at > now else now) + self._interval(bounds.requests_per_minute)
        if self._sharing is not None:
            # Nobody is owed what no other replica shares.
            if bounds.tokens_per_minute:
                state.tokens_owed += tokens
            if bounds.requests_per_minute:
                state.requests_owed += 1
            self._sharing.changed(state, bounds)

    def _check(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int) -> None:
        now = self._now_s()
        sharing = self._sharing
        alone = sharing is not None and sharing.alone
        for state, bounds in states:
            if bounds.concurrency:
                slots = -(-bounds.concurrency // sharing.replicas) if alone and sharing else bounds.concurrency
                running = state.active + (0 if alone else state.active_elsewhere)
                if running >= slots:
                    raise _SlotsTaken(bounds, running)
            if bounds.requests_per_minute:
                interval = self._interval(bounds.requests_per_minute)
                wait = max(state.requests_at, now) + interval - now - MINUTE_S
                if wait > _ROUNDING_S:
                    raise _too_fast(bounds, wait, max(0.0, state.requests_at - now))
            if bounds.tokens_per_minute:
                if tokens > bounds.tokens_per_minute:
                    raise _request_too_large(bounds, tokens)
                interval = self._interval(bounds.tokens_per_minute)
                wait = max(state.tokens_at, now) + tokens * interval - now - MINUTE_S
                # If the replica decides alone, a request over its whole share is admitted once the share is full.
                if wait > _ROUNDING_S and not (alone and state.tokens_at <= now):
                    raise _too_many_tokens(bounds, tokens, wait)


class _SlotsTaken(ServiceError):
    """The refusal for want of a slot."""

    def __init__(self, bounds: Bounds, running: int) -> None:
        super().__init__(
            Reason.CONCURRENCY_LIMITED,
            f"concurrency limit reached: {bounds.what} {bounds.subject} has {running} requests running and may have "
            f"{bounds.concurrency}; wait for one to end",
            retry_after_s=1.0,
            metadata={"limit": str(bounds.concurrency)},
        )


class _Waiter:
    """A request that waits for a slot."""

    __slots__ = ("turn",)

    def __init__(self) -> None:
        self.turn: asyncio.Future[None] | None = None

    @property
    def woken(self) -> bool:
        """True if a slot was freed for it that it has not taken."""
        return self.turn is not None and self.turn.done()


def _wake(queue: Iterable[_Waiter], *, after: _Waiter | None = None) -> None:
    """Wake the first that is not woken yet, of all or of those after one."""
    passed = after is None
    for waiter in queue:
        if passed and waiter.turn is not None and not waiter.turn.done():
            waiter.turn.set_result(None)
            return
        passed = passed or waiter is after


@contextlib.contextmanager
def _timer(pause: Callable[[float], Awaitable[object]], seconds: float) -> Iterator[asyncio.Future[Any]]:
    timer: asyncio.Future[Any] = asyncio.ensure_future(pause(seconds))
    try:
        yield timer
    finally:
        timer.cancel()


def _too_fast(bounds: Bounds, wait_s: float, reset_s: float) -> ServiceError:
    return ServiceError(
        Reason.RATE_LIMITED,
        f"rate limit reached: {bounds.what} {bounds.subject} may make {bounds.requests_per_minute} requests a minute; "
        f"retry in {wait_s:.1f} s",
        retry_after_s=wait_s,
        metadata={"limit": str(bounds.requests_per_minute), "reset_s": f"{reset_s:.0f}"},
    )


def _request_too_large(bounds: Bounds, tokens: int) -> ServiceError:
    return ServiceError(
        Reason.TOKENS_LIMITED,
        f"request over the token limit: it may take {tokens} tokens, and {bounds.what} {bounds.subject} has "
        f"{bounds.tokens_per_minute} a minute; ask for less output or shorten the prompt",
        metadata={"limit": str(bounds.tokens_per_minute)},
    )


def _too_many_tokens(bounds: Bounds, tokens: int, wait_s: float) -> ServiceError:
    return ServiceError(
        Reason.TOKENS_LIMITED,
        f"token limit reached: {bounds.what} {bounds.subject} may use {bounds.tokens_per_minute} tokens a minute, and "
        f"the request may take {tokens}; retry in {wait_s:.1f} s",
        retry_after_s=wait_s,
        metadata={"limit": str(bounds.tokens_per_minute)},
    )


def _refusal_of_rounding(states: Sequence[tuple[BucketState, Bounds]]) -> ServiceError:
    """Return the error if Redis refuses what the updated states allow, by a rounding difference of the clocks."""
    bounds = next((one for _, one in states if one.requests_per_minute or one.tokens_per_minute), states[0][1])
    if bounds.requests_per_minute:
        return _too_fast(bounds, 0.1, MINUTE_S)
    if bounds.tokens_per_minute:
        return _too_many_tokens(bounds, 0, 0.1)
    return _SlotsTaken(bounds, bounds.concurrency)
