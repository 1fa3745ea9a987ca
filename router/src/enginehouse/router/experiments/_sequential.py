"""Means, their intervals, and a sequential test, which stays valid however often its result is read."""

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
        """Return the mean's 95 % interval, valid for a single look; unbounded for less than two values."""
        if self.n < 2:
            return -math.inf, math.inf
        half = _Z * math.sqrt(self.variance / self.n)
        return self.mean - half, self.mean + half


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """The difference of two means, with an interval that holds at all looks together."""

    value: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """True if the interval excludes zero."""
        return self.low > 0 or self.high < 0


def difference(treated: Sample, control: Sample, *, alpha: float, effect: float = 0.1) -> Difference:
    """Return the difference of means by the mixture sequential probability ratio test.

    The interval covers the true difference at all looks together with probability 1 - alpha, whatever the stopping
    rule (Johari, Koomen, Pekelis, Walsh: "Peeking at A/B Tests", 2017, with a normal mixture). It needs some dozens of
    values on each side, because the variances are estimated.

    Args:
        treated: the values of an arm.
        control: the values of the control.
        alpha: the probability of ever excluding the true difference.
        effect: the size of difference, in standard deviations of the values, that the test finds soonest.
    """
    value = treated.mean - control.mean
    if treated.n < 2 or control.n < 2:
        return Difference(value, -math.inf, math.inf)
    variance = treated.variance / treated.n + control.variance / control.n
    if variance == 0:
        # If all values are equal (no request failed, say), the variance says nothing about rare other values. The rule
        # of three bounds the share of an event that was never seen.
        spread = 3 / treated.n + 3 / control.n
        return Difference(value, value - spread, value + spread)
    mixture = (treated.variance + control.variance) / 2 * effect**2
    both = variance + mixture
    half = math.sqrt(2 * variance * both / mixture * (math.log(1 / alpha) + 0.5 * math.log(both / variance)))
    return Difference(value, value - half, value + half)
