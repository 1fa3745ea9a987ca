"""Requests a minute, tokens a minute and requests at once, in memory, for keys and tenants.

Rates are GCRA: a bucket of one minute's worth that refills evenly, kept as one number, its theoretical arrival time.
All limits of a request hold or none is charged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.limits._bounds import Bounds, Quota

_MINUTE_S = 60.0


@dataclasses.dataclass(slots=True)
class _State:
    # When the buckets will be full again, in the clock's seconds.
    requests_at: float = 0.0
    tokens_at: float = 0.0
    active: int = 0


class Held:
    """What an admitted request holds of its limits. `release` gives it back, once."""

    __slots__ = ("_charged", "_states", "_tokens", "quota")

    def __init__(self, states: Sequence[tuple[_State, Bounds]], tokens: int, quota: Quota | None) -> None:
        self._states = states
        self._tokens = tokens
        self._charged = True
        self.quota = quota

    def release(self, tokens_used: int | None) -> None:
        """Frees the slots, and corrects the tokens to those used, where known."""
        if not self._charged:
            return
        self._charged = False
        for state, bounds in self._states:
            if bounds.concurrency:
                state.active -= 1
            if bounds.tokens_per_minute and tokens_used is not None:
                state.tokens_at += (tokens_used - self._tokens) * _MINUTE_S / bounds.tokens_per_minute

    def cancel(self) -> None:
        """Takes everything back, as if the request had never come."""
        if not self._charged:
            return
        self.release(0)
        for state, bounds in self._states:
            if bounds.requests_per_minute:
                state.requests_at -= _MINUTE_S / bounds.requests_per_minute


class Limiter:
    """Every subject's state. `now_s` is a monotonic clock in seconds."""

    def __init__(self, *, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._states: dict[str, _State] = {}

    def admit(self, subjects: Sequence[Bounds], *, tokens: int) -> Held:
        """Charges the request to every bound, or raises the typed error of the first that refuses.

        Raises:
            ServiceError: CONCURRENCY_LIMITED, RATE_LIMITED or TOKENS_LIMITED.
        """
        if not subjects:
            return Held((), 0, None)
        now = self._now_s()
        charged: list[tuple[_State, Bounds]] = []
        for bounds in subjects:
            state = self._states.get(bounds.subject)
            if state is None:
                state = self._states[bounds.subject] = _State()
            _check(state, bounds, tokens, now)
            charged.append((state, bounds))
        quota: Quota | None = None
        for state, bounds in charged:
            if bounds.concurrency:
                state.active += 1
            if bounds.tokens_per_minute:
                state.tokens_at = max(state.tokens_at, now) + tokens * _MINUTE_S / bounds.tokens_per_minute
            if bounds.requests_per_minute:
                interval = _MINUTE_S / bounds.requests_per_minute
                state.requests_at = max(state.requests_at, now) + interval
                left = int((_MINUTE_S - (state.requests_at - now)) / interval + 1e-9)
                if quota is None or left < quota.remaining:
                    quota = Quota(bounds.requests_per_minute, left, state.requests_at - now)
        return Held(charged, tokens, quota)

    def prune(self) -> None:
        """Forgets subjects that hold nothing and whose buckets are full."""
        now = self._now_s()
        self._states = {
            subject: state
            for subject, state in self._states.items()
            if state.active or state.requests_at > now or state.tokens_at > now
        }

    def __len__(self) -> int:
        return len(self._states)


def _check(state: _State, bounds: Bounds, tokens: int, now: float) -> None:
    who = f"{bounds.what} {bounds.subject}"
    if bounds.concurrency and state.active >= bounds.concurrency:
        raise ServiceError(
            Reason.CONCURRENCY_LIMITED,
            f"{who} has {state.active} requests running and may have {bounds.concurrency}; wait for one to end",
            retry_after_s=1.0,
            metadata={"limit": str(bounds.concurrency)},
        )
    if bounds.requests_per_minute:
        interval = _MINUTE_S / bounds.requests_per_minute
        wait = max(state.requests_at, now) + interval - now - _MINUTE_S
        if wait > 1e-9:
            raise ServiceError(
                Reason.RATE_LIMITED,
                f"{who} may make {bounds.requests_per_minute} requests a minute; retry in {wait:.1f} s",
                retry_after_s=wait,
                metadata={
                    "limit": str(bounds.requests_per_minute),
                    "reset_s": f"{max(0.0, state.requests_at - now):.0f}",
                },
            )
    if bounds.tokens_per_minute:
        if tokens > bounds.tokens_per_minute:
            raise ServiceError(
                Reason.TOKENS_LIMITED,
                f"the request may take {tokens} tokens and {who} has {bounds.tokens_per_minute} a minute; ask for less "
                "output or shorten the prompt",
                metadata={"limit": str(bounds.tokens_per_minute)},
            )
        wait = max(state.tokens_at, now) + tokens * _MINUTE_S / bounds.tokens_per_minute - now - _MINUTE_S
        if wait > 1e-9:
            raise ServiceError(
                Reason.TOKENS_LIMITED,
                f"{who} may use {bounds.tokens_per_minute} tokens a minute, and the request may take {tokens}; retry "
                f"in {wait:.1f} s",
                retry_after_s=wait,
                metadata={"limit": str(bounds.tokens_per_minute)},
            )
