"""Retries of failed calls, by AIP-194, which allows them for UNAVAILABLE alone.

A stream is never sent again once its first message has arrived: the caller has seen part of an answer, and has paid
for it. The next attempt asks for the rest instead (`enginehouse.client.resumption`).
"""

from __future__ import annotations

import dataclasses
import random
import time

from enginehouse.client.errors import EnginehouseError, Unavailable


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The number of retries and the waits between them.

    Attributes:
        max_attempts: the most times that a call is sent, the first included; 1 never retries.
        initial_backoff_s: the longest wait before the second attempt.
        max_backoff_s: the longest wait before any attempt, unless the service asks for a longer one.
        backoff_multiplier: the factor by which the longest wait grows after each attempt.
        max_resumes: the most times that a cut stream is continued, over all its attempts. 0 never continues one; then
            streams are not asked to be resumable either, which costs them a little.
    """

    max_attempts: int = 5
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 5.0
    backoff_multiplier: float = 2.0
    max_resumes: int = 20

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"invalid max_attempts {self.max_attempts}: expected 1 or more")
        if self.max_resumes < 0:
            raise ValueError(f"invalid max_resumes {self.max_resumes}: expected 0 (never resume) or more")
        if self.initial_backoff_s < 0 or self.max_backoff_s < self.initial_backoff_s or self.backoff_multiplier < 1:
            raise ValueError(
                f"invalid backoff: expected 0 <= initial_backoff_s ({self.initial_backoff_s}) <= max_backoff_s "
                f"({self.max_backoff_s}) and backoff_multiplier ({self.backoff_multiplier}) >= 1"
            )


class Attempts:
    """The attempts at one call, against its deadline.

    Args:
        policy: the number of retries and the waits between them.
        timeout_s: seconds for all attempts and waits together; None for no bound.
    """

    def __init__(self, policy: RetryPolicy, *, timeout_s: float | None) -> None:
        self._policy = policy
        self._made = 1
        self._resumes = 0
        self._backoff_s = policy.initial_backoff_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for the next attempt; None for no bound."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def delay_before_next(self, error: EnginehouseError) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there must be none.

        The wait is drawn between half and all of an exponentially growing bound, so that callers who failed together
        do not return together. A RetryInfo from the service is a lower bound on it.
        """
        if not isinstance(error, Unavailable) or self._made >= self._policy.max_attempts:
            return None
        return self._delay(error)

    def delay_before_resuming(self, error: EnginehouseError, *, progressed: bool) -> float | None:
        """Return the seconds to wait before asking for the rest of a cut stream, or None if that must not be done.

        Args:
            error: the failure of the last attempt.
            progressed: whether the last attempt brought anything; then attempts and waits are counted anew.
        """
        if progressed:
            self._made = 1
            self._backoff_s = self._policy.initial_backoff_s
        self._resumes += 1
        if self._resumes > self._policy.max_resumes or self._made >= self._policy.max_attempts:
            return None
        return self._delay(error)

    def _delay(self, error: EnginehouseError) -> float | None:
        delay = self._backoff_s * random.uniform(0.5, 1.0)
        if error.retry_after_s is not None:
            delay = max(delay, error.retry_after_s)
        remaining = self.remaining_s
        if remaining is not None and delay >= remaining:
            return None
        self._made += 1
        self._backoff_s = min(self._backoff_s * self._policy.backoff_multiplier, self._policy.max_backoff_s)
        return delay
