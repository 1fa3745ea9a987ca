"""A circuit breaker, which keeps requests from a provider that is away."""

from __future__ import annotations

import time
from collections.abc import Callable

from enginehouse.kit.errors import Reason, ServiceError

_FAILURES = 5
_MAX_OPEN_S = 60.0
# A probe may be cancelled without a result; after this time another one is let through.
_PROBE_S = 30.0


class ProviderGate:
    """A circuit breaker for one provider, shared by all its models.

    It opens after five failures in a row, for a second at first, and twice as long each time that the probe at the end
    fails as well. Requests are refused at once meanwhile. Written by hand, since a probe's failure and a provider's own
    pauses decide together when it closes.

    Args:
        name: the provider, for messages.
        open_s: seconds that it stays open at first.
        jitter: returns a number from 0 to 1, so that engines do not retry together.
        clock: returns monotonic seconds.
    """

    def __init__(
        self, *, name: str, open_s: float, jitter: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._open_s = open_s
        self._jitter = jitter
        self._clock = clock
        self._failures = 0
        self._times = 0
        self._until = 0.0
        self._probe_until = 0.0
        self._last = ""

    @property
    def is_open(self) -> bool:
        """True while all requests are refused."""
        return self._clock() < self._until

    def enter(self) -> None:
        """Let a request through, or raise UPSTREAM_FAILED, with the time to retry."""
        if self._failures < _FAILURES:
            return
        now = self._clock()
        left = max(self._until, self._probe_until) - now
        if left > 0:
            raise ServiceError(
                Reason.UPSTREAM_FAILED,
                f"the provider at {self._name} is away; its last error: {self._last}",
                retry_after_s=max(0.1, left),
            )
        self._probe_until = now + _PROBE_S

    def answered(self) -> None:
        """Record an answer of the provider, even one that refuses the request."""
        self._failures = self._times = 0
        self._until = self._probe_until = 0.0

    def failed(self, why: str) -> None:
        """Record a failure of the provider."""
        self._last = why
        self._failures += 1
        now = self._clock()
        if self._failures >= _FAILURES and now >= self._until:
            span = min(_MAX_OPEN_S, self._open_s * 2.0 ** min(self._times, 30))
            self._times += 1
            self._until = now + span * (1 + self._jitter() / 10)
            self._probe_until = 0.0
