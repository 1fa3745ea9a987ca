"""Means, their intervals, and a test that may be looked at as often as one likes."""

from __future__ import annotations

import dataclasses
import math

# Two-sided 95 % of the normal distribution.
_Z = 1.959964


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """`n` independent values with their mean and unbiased variance."""

    n: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def interval(self) -> tuple[float, float]:
        """The mean's 95 % interval at a single look; unbounded under two values."""
        if self.n < 2:
            return -math.inf, math.inf
        half = _Z * math.sqrt(self.variance / self.n)
        return self.mean - half, self.mean + half


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """How much higher one mean is than another, with an interval that holds at every look at once."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether it is not nothing."""
        return self.low > 0 or self.high < 0


def difference(treated: Sample, control: Sample, *, alpha: float, effect: float = 0.1) -> Difference:
    """The difference of means by the mixture sequential probability ratio test.

    The interval covers the true difference at all looks together with probability 1 - alpha, whatever the rule by which
    one stops (Johari, Koomen, Pekelis, Walsh: "Peeking at A/B Tests", 2017, with a normal mixture). Variances are
    estimated, so it holds once there are some dozens of values on each side.

    Args:
        treated: the values of an arm.
        control: the values that they are compared with.
        alpha: the chance of ever excluding the truth.
        effect: the size of difference, in standard deviations of the values, that the test is quickest to find.
    """
    value = treated.mean - control.mean
    if treated.n < 2 or control.n < 2:
        return Difference(value, -math.inf, math.inf)
    variance = treated.variance / treated.n + control.variance / control.n
    if variance == 0:
        # Equal values on each side (no request failed, say) tell nothing about how rare others are: the rule of three
        # bounds what a share can be that was never seen.
        spread = 3 / treated.n + 3 / control.n
        return Difference(value, value - spread, value + spread)
    mixture = (treated.variance + control.variance) / 2 * effect**2
    both = variance + mixture
    half = math.sqrt(2 * variance * both / mixture * (math.log(1 / alpha) + 0.5 * math.log(both / variance)))
    return Difference(value, value - half, value + half)
