"""Requests a minute, tokens a minute and requests at once: charged in memory, for all of a request's bounds or none.

Rates are GCRA: a bucket of one minute's worth that refills evenly, kept as one number, its theoretical arrival time.

Alone, a replica's buckets are the truth. With Redis they are a copy of the truth that may be behind (see `_shared`): a
replica then admits out of its copy only so much that Redis has not heard of, its float; what goes beyond asks first.
While Redis is away each replica has its share of every bound.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.limits._bounds import Bounds, Quota

MINUTE_S = 60.0
FRESH_S = 0.02
"""How old what is known of others may be when a request is refused for it."""
_ROUNDING_S = 1e-9


@dataclasses.dataclass(slots=True)
class BucketState:
    """One subject's state here. Times are the limiter's clock, in seconds.

    `requests_at` and `tokens_at` say when the buckets will be full again. What was charged and Redis has not heard of
    is `requests_owed` and `tokens_owed` (`..._sent` while it is on its way). Of the requests that run, `active` are
    here, of which Redis was told `active_told`, and `elsewhere` on other replicas, as was heard at `heard_s`.
    """

    requests_at: float = 0.0
    tokens_at: float = 0.0
    active: int = 0
    requests_owed: float = 0.0
    tokens_owed: float = 0.0
    requests_sent: float = 0.0
    tokens_sent: float = 0.0
    active_told: int = 0
    elsewhere: int = 0
    heard_s: float = float("-inf")


class LimitReservation:
    """The part of its limits that an admitted request holds. `release` gives it back, once."""

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
        """Free the slots, and correct the tokens to those used, where known."""
        if not self._charged:
            return
        self._charged = False
        for state, bounds in self._states:
            if bounds.concurrency:
                state.active -= 1
            if bounds.tokens_per_minute and tokens_used is not None:
                self._limiter.correct_tokens(state, bounds, tokens_used - self._tokens)
            self._limiter.changed(state, bounds)

    def cancel(self) -> None:
        """Take everything back, as if the request had never come."""
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
        """True if this replica must go on alone now."""

    @property
    def replicas(self) -> int:
        """The number of replicas that share, this one included, as far as is known."""

    @property
    def slack(self) -> float:
        """The part of a bound that all replicas together may admit before Redis has heard of it."""

    def changed(self, state: BucketState, bounds: Bounds) -> None:
        """There is something to tell."""

    async def charge(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int) -> bool | None:
        """Charge a request in Redis if every bound has room, and bring the meters up to date.

        False if one has not; None if Redis could not say, and the replica must decide alone.
        """


class Limiter:
    """Every subject's meter.

    Args:
        now_s: a monotonic clock in seconds.
        sharing: the buckets shared with other replicas; None to be alone.
    """

    def __init__(self, *, now_s: Callable[[], float], sharing: Sharing | None = None) -> None:
        self._now_s = now_s
        self._sharing = sharing
        self._states: dict[str, BucketState] = {}

    async def admit(self, subjects: Sequence[Bounds], *, tokens: int) -> LimitReservation:
        """Charge the request to every bound, or raise the typed error of the first that refuses.

        Without Redis, and with it as long as the float lasts, this waits for nothing.

        Raises:
            ServiceError: CONCURRENCY_LIMITED, RATE_LIMITED or TOKENS_LIMITED.
        """
        if not subjects:
            return LimitReservation(self, (), 0, None)
        states = [(self._meter(bounds.subject), bounds) for bounds in subjects]
        sharing = self._sharing
        try:
            self._check(states, tokens)
            asks = sharing is not None and not sharing.alone and self._beyond_float(states, tokens, sharing)
        except ServiceError as refused:
            # What others gave back since is not known here: worth asking, but not for each request of a flood.
            asks = sharing is not None and not sharing.alone and refused.retry_after_s is not None
            if not asks or self._now_s() < min(state.heard_s for state, _ in states) + FRESH_S:
                raise
        if sharing is not None and asks:
            admitted = await sharing.charge(states, tokens)
            if admitted:
                return self._held(states, tokens, charge=False)
            # What is known by now says why not, or decides where Redis could not.
            self._check(states, tokens)
            if admitted is False:
                raise _refusal_of_rounding(states)
        return self._held(states, tokens, charge=True)

    def prune(self) -> None:
        """Forget subjects that hold nothing, owe nothing and whose buckets are full."""
        now = self._now_s()
        self._states = {
            subject: state
            for subject, state in self._states.items()
            if state.active
            or state.active_told
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
        """Charge more or fewer requests than was thought."""
        state.requests_at += requests * self._interval(bounds.requests_per_minute)
        state.requests_owed += requests

    def correct_tokens(self, state: BucketState, bounds: Bounds, tokens: float) -> None:
        """Charge more or fewer tokens than was thought."""
        state.tokens_at += tokens * self._interval(bounds.tokens_per_minute)
        state.tokens_owed += tokens

    def changed(self, state: BucketState, bounds: Bounds) -> None:
        """Let the others hear of it soon."""
        if self._sharing is not None:
            self._sharing.changed(state, bounds)
        else:
            state.requests_owed = state.tokens_owed = 0.0

    def _meter(self, subject: str) -> BucketState:
        state = self._states.get(subject)
        if state is None:
            state = self._states[subject] = BucketState()
        return state

    def _interval(self, per_minute: int) -> float:
        """Seconds that one unit takes to refill here: longer for a replica that has only its share."""
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
            if bounds.concurrency and state.active - state.active_told + 1 > bounds.concurrency * share:
                return True
        return False

    def _held(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int, *, charge: bool) -> LimitReservation:
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
            state.tokens_at = max(state.tokens_at, now) + tokens * self._interval(bounds.tokens_per_minute)
            state.tokens_owed += tokens
        if bounds.requests_per_minute:
            state.requests_at = max(state.requests_at, now) + self._interval(bounds.requests_per_minute)
            state.requests_owed += 1
        self.changed(state, bounds)

    def _check(self, states: Sequence[tuple[BucketState, Bounds]], tokens: int) -> None:
        now = self._now_s()
        sharing = self._sharing
        alone = sharing is not None and sharing.alone
        for state, bounds in states:
            if bounds.concurrency:
                most = -(-bounds.concurrency // sharing.replicas) if alone and sharing else bounds.concurrency
                running = state.active + (0 if alone else state.elsewhere)
                if running >= most:
                    raise _too_many_at_once(bounds, running)
            if bounds.requests_per_minute:
                interval = self._interval(bounds.requests_per_minute)
                wait = max(state.requests_at, now) + interval - now - MINUTE_S
                if wait > _ROUNDING_S:
                    raise _too_fast(bounds, wait, max(0.0, state.requests_at - now))
            if bounds.tokens_per_minute:
                if tokens > bounds.tokens_per_minute:
                    raise _never(bounds, tokens)
                interval = self._interval(bounds.tokens_per_minute)
                wait = max(state.tokens_at, now) + tokens * interval - now - MINUTE_S
                # Alone, a request over its replica's whole share waits for the share to be full, and then has it.
                if wait > _ROUNDING_S and not (alone and state.tokens_at <= now):
                    raise _too_many_tokens(bounds, tokens, wait)


def _too_many_at_once(bounds: Bounds, running: int) -> ServiceError:
    return ServiceError(
        Reason.CONCURRENCY_LIMITED,
        f"{bounds.what} {bounds.subject} has {running} requests running and may have {bounds.concurrency}; wait for "
        "one to end",
        retry_after_s=1.0,
        metadata={"limit": str(bounds.concurrency)},
    )


def _too_fast(bounds: Bounds, wait_s: float, reset_s: float) -> ServiceError:
    return ServiceError(
        Reason.RATE_LIMITED,
        f"{bounds.what} {bounds.subject} may make {bounds.requests_per_minute} requests a minute; retry in "
        f"{wait_s:.1f} s",
        retry_after_s=wait_s,
        metadata={"limit": str(bounds.requests_per_minute), "reset_s": f"{reset_s:.0f}"},
    )


def _never(bounds: Bounds, tokens: int) -> ServiceError:
    return ServiceError(
        Reason.TOKENS_LIMITED,
        f"the request may take {tokens} tokens and {bounds.what} {bounds.subject} has {bounds.tokens_per_minute} a "
        "minute; ask for less output or shorten the prompt",
        metadata={"limit": str(bounds.tokens_per_minute)},
    )


def _too_many_tokens(bounds: Bounds, tokens: int, wait_s: float) -> ServiceError:
    return ServiceError(
        Reason.TOKENS_LIMITED,
        f"{bounds.what} {bounds.subject} may use {bounds.tokens_per_minute} tokens a minute, and the request may take "
        f"{tokens}; retry in {wait_s:.1f} s",
        retry_after_s=wait_s,
        metadata={"limit": str(bounds.tokens_per_minute)},
    )


def _refusal_of_rounding(states: Sequence[tuple[BucketState, Bounds]]) -> ServiceError:
    """Redis refused by a hair that is lost between its clock and this one."""
    bounds = next((one for _, one in states if one.requests_per_minute or one.tokens_per_minute), states[0][1])
    if bounds.requests_per_minute:
        return _too_fast(bounds, 0.1, MINUTE_S)
    if bounds.tokens_per_minute:
        return _too_many_tokens(bounds, 0, 0.1)
    return _too_many_at_once(bounds, bounds.concurrency)
