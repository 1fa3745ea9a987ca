"""The meter of one call: counts units, prices them as it goes, and never passes the cap."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from typing import TypeAlias

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import MAX_NANOS, PER_MILLION, UNIT_NAMES, Unit, affordable, to_usage

COUNTERS = 1 + max(usage_pb2.Unit.values())
"""How many counters a meter needs: one for each unit's number."""

Counters: TypeAlias = "MutableSequence[int] | memoryview[int]"


class CapExceeded(ServiceError):
    """Counting would have passed the cap; nothing was counted."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.BUDGET_EXHAUSTED, message)


class Meter:
    """Counts one call's units under a cap.

    Count before sending: what `take` or `add` has counted is on record (in the spool's memory map, where the meter is a
    call's) even if the process is killed the next instant.

    Args:
        prices: nano-dollars for a million of each unit; a unit that is not listed is free.
        cap_nanos: the most that the call may cost, in nano-dollars.
        counters: where the counts live, at least `COUNTERS` integers, all zero; a plain list if None.

    Raises:
        ValueError: the cap or a price is negative.
    """

    __slots__ = ("_cap_numerator", "_counters", "_prices", "_spent", "capped", "closed")

    def __init__(self, *, prices: Mapping[Unit, int], cap_nanos: int, counters: Counters | None = None) -> None:
        if cap_nanos < 0 or (prices and min(prices.values()) < 0):
            raise ValueError(f"cap {cap_nanos} and prices {dict(prices)} must not be negative")
        self._prices = prices
        self._cap_numerator = min(cap_nanos, MAX_NANOS) * PER_MILLION
        self._counters: Counters = [0] * COUNTERS if counters is None else counters
        self._spent = 0
        self.capped = False
        """Whether the cap (or the grant's end) refused a unit; set by hand where an engine bounds work beforehand."""
        self.closed = False
        """Whether the grant has expired or the call has ended: nothing can be counted any more."""

    def take(self, unit: Unit, n: int = 1) -> int:
        """Counts up to n units and returns how many of them the cap allowed; fewer than n sets `capped`."""
        if n < 0:
            raise ValueError(f"{UNIT_NAMES.get(unit, unit)}: cannot count {n}")
        if self.closed:
            if n:
                self.capped = True
            return 0
        price = self._prices.get(unit, 0)
        spent = self._spent + price * n
        if spent > self._cap_numerator:
            self.capped = True
            n = (self._cap_numerator - self._spent) // price
            spent = self._spent + price * n
        self._spent = spent
        self._counters[unit] += n
        return n

    def add(self, unit: Unit, n: int = 1) -> None:
        """Counts n units, or none.

        Raises:
            CapExceeded: they do not fit under the cap, or the grant has expired.
        """
        if self.would_exceed(unit, n):
            self.capped = True
            raise CapExceeded(
                f"{n} {UNIT_NAMES.get(unit, unit)} would cost more than the {self.remaining_nanos} nano-dollars left "
                "of what the budget reserved for this request"
                if not self.closed
                else "the time that the budget reserved for this request is over"
            )
        self.take(unit, n)

    def would_exceed(self, unit: Unit, n: int = 1) -> bool:
        """Whether n more units would pass the cap."""
        return n > self.affordable(unit)

    def affordable(self, unit: Unit) -> int:
        """How many more of the unit fit under the cap; `MAX_NANOS` for a free unit, 0 once the grant has expired."""
        if self.closed:
            return 0
        return affordable(
            self._prices.get(unit, 0), spent_numerator=self._spent, cap_nanos=self._cap_numerator // PER_MILLION
        )

    def count_in(self, counters: Counters) -> None:
        """Counts there from now on; before the first unit."""
        self._counters = counters

    def close(self) -> None:
        """Ends the counting: from now on nothing can be counted, and what was counted can still be read."""
        self.closed = True
        self._counters = list(self._counters)

    def amount(self, unit: Unit) -> int:
        """How many of the unit were counted."""
        return self._counters[unit]

    @property
    def amounts(self) -> dict[Unit, int]:
        """The counts by unit, without zeros."""
        return {unit: count for unit in UNIT_NAMES if (count := self._counters[unit])}

    @property
    def cost_nanos(self) -> int:
        """The charge so far, rounded up once; never over the cap."""
        return -(-self._spent // PER_MILLION)

    @property
    def remaining_nanos(self) -> int:
        """What is left of the cap, in nano-dollars, rounded down."""
        return (self._cap_numerator - self._spent) // PER_MILLION

    def usage(self) -> usage_pb2.Usage:
        """The counts and the charge in the contract's form."""
        return to_usage(self.amounts, cost=self.cost_nanos)
