"""One circuit breaker. It knows no clock: every method is told the time, in monotonic seconds.

Closed, it counts answers and failures. Open, it lets nothing through until its time is over. Half-open, it lets a few
requests through: the first answer closes it, a failure opens it again for twice as long.

Written by hand: the libraries wrap the failing call, and here the calls are the engines', told of in batches.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable


class BreakerState(enum.StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    """It lets all through."""
    OPEN = "open"
    """It lets none through."""
    HALF_OPEN = "half-open"
    """It lets a few through, to see."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BreakerTerms:
    """The terms on which a breaker opens and closes.

    Attributes:
        failures: how many failures within the window it takes to open.
        failure_share: the share of all calls in the window that must have failed.
        window_s: calls are counted over the last one to two of these, in seconds.
        open_s: how long it stays open at first, in seconds; doubled each time that it opens without having recovered.
        max_open_s: the longest that it stays open, in seconds.
        probes: how many requests are under way at once while it is half-open.
        probe_s: how long a probe is waited for before another is let through, in seconds.
    """

    failures: int = 5
    failure_share: float = 0.5
    window_s: float = 30.0
    open_s: float = 1.0
    max_open_s: float = 60.0
    probes: int = 1
    probe_s: float = 10.0


class Breaker:
    """A breaker.

    Args:
        terms: when it opens and closes.
        jitter: a number from 0 to 1 that spreads the ends of open times, so that replicas do not probe together.
    """

    __slots__ = (
        "_answered",
        "_began",
        "_closed_at",
        "_failed",
        "_jitter",
        "_probes",
        "_probing_since",
        "_terms",
        "_times",
        "_was_answered",
        "_was_failed",
        "opened",
        "until",
    )

    def __init__(self, *, terms: BreakerTerms, jitter: Callable[[], float]) -> None:
        self._terms = terms
        self._jitter = jitter
        # This window and the one before it.
        self._began = 0.0
        self._answered = self._failed = 0
        self._was_answered = self._was_failed = 0
        # How often in a row it has opened, and when it last closed.
        self._times = 0
        self._closed_at = 0.0
        self._probes = 0
        self._probing_since = 0.0
        self.opened = False
        """True if it has opened and not closed since."""
        self.until = 0.0
        """When it became or becomes half-open; means nothing while it is closed."""

    def state(self, now: float) -> BreakerState:
        """The state of the breaker now."""
        if not self.opened:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.until else BreakerState.HALF_OPEN

    def lets_through(self, now: float) -> bool:
        """Return whether a request may pass. Changes nothing: `sent` counts the one that does."""
        if not self.opened:
            return True
        return now >= self.until and (
            self._probes < self._terms.probes or now - self._probing_since >= self._terms.probe_s
        )

    def sent(self, now: float) -> None:
        """A request passed; while half-open, it is a probe."""
        if self.opened and now >= self.until:
            if now - self._probing_since >= self._terms.probe_s:
                self._probes = 0
            self._probes += 1
            self._probing_since = now

    def record(self, now: float, *, answered: int, failed: int, may_open: bool = True) -> None:
        """Count ended calls, and open or close by them; only close if it may not open."""
        if self.opened:
            if now < self.until:
                # What was under way when it opened says nothing new.
                return
            if answered:
                self._close(now)
            elif failed and may_open:
                self.open(now)
            return
        self._roll(now)
        self._answered += answered
        self._failed += failed
        failures = self._failed + self._was_failed
        calls = failures + self._answered + self._was_answered
        enough = failures >= self._terms.failures and failures >= calls * self._terms.failure_share
        if failed and enough and may_open:
            self.open(now)

    def open(self, now: float) -> None:
        """Open it, for longer than the last time if it has not been well in between."""
        terms = self._terms
        if not self.opened and self._recovered(now):
            self._times = 0
        span = min(terms.max_open_s, terms.open_s * 2.0 ** min(self._times, 30))
        self._times += 1
        self.opened = True
        self.until = now + span * (1 + self._jitter() / 10)
        self._probes = 0
        self._probing_since = 0.0

    def half_open(self, now: float) -> None:
        """End its open time now: somebody knows that a try may do better."""
        if not self.opened:
            self._times = 1
            self.opened = True
        self.until = now
        self._probes = 0

    def failure_share(self, now: float) -> float:
        """The share of the calls in the window that failed; 0 without any."""
        self._roll(now)
        failures = self._failed + self._was_failed
        calls = failures + self._answered + self._was_answered
        return failures / calls if calls else 0.0

    def forgettable(self, now: float) -> bool:
        """Return whether a new breaker in its place would do the same."""
        return not self.opened and self._recovered(now) and not self.failure_share(now)

    def _recovered(self, now: float) -> bool:
        return now - self._closed_at > max(self._terms.window_s, self._terms.max_open_s)

    def _close(self, now: float) -> None:
        self.opened = False
        self._closed_at = now
        self._began = now
        self._answered = self._failed = self._was_answered = self._was_failed = 0

    def _roll(self, now: float) -> None:
        gone = now - self._began
        if gone >= self._terms.window_s:
            late = gone >= 2 * self._terms.window_s
            self._was_answered, self._was_failed = (0, 0) if late else (self._answered, self._failed)
            self._answered = self._failed = 0
            self._began = now
