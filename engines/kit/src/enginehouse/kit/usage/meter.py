"""The meter of one call, which counts and prices units and never passes the cap."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, MutableSequence
from types import MappingProxyType
from typing import TypeAlias

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import (
    MAX_NAMED_UNITS,
    MAX_NANOS,
    PER_MILLION,
    UNIT_NAMES,
    UNITS,
    Unit,
    affordable,
    put_usage,
    to_usage,
    unit_name,
)

_NUMBERED = 1 + max(usage_pb2.Unit.values())
# A model's prices may name so many units, and a method's contract as many more.
_MAX_NAMED = 2 * MAX_NAMED_UNITS
COUNTERS = _NUMBERED + _MAX_NAMED
"""The number of counters that a meter needs: one for each unit's number, then those of units that only have names."""

_NUMBERS = tuple(UNIT_NAMES)
_NONE_NAMED: Mapping[str, int] = MappingProxyType({})

Counters: TypeAlias = "MutableSequence[int] | memoryview[int]"


class CapExceeded(ServiceError):
    """The units would have passed the cap; none were counted."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.BUDGET_EXHAUSTED, message)


class Meter:
    """The counts of one call's units under a cap.

    Count before sending: what `take` or `add` has counted is on record (in the spool's memory map, where the meter is a
    call's) even if the process is killed the next instant.

    Args:
        prices: nano-dollars for a million of each unit; a unit that is not listed is free. Of the units that only have
            names, those that are listed can be counted.
        cap_nanos: the bound on the call's cost, in nano-dollars.
        counters: the storage of the counts, at least `COUNTERS` integers, all zero; a plain list if None.

    Raises:
        ValueError: the cap or a price is negative, or too many units only have names.
    """

    __slots__ = ("_cap_numerator", "_counters", "_spent", "capped", "closed", "named", "prices")

    def __init__(self, *, prices: Mapping[Unit, int], cap_nanos: int, counters: Counters | None = None) -> None:
        if cap_nanos < 0 or (prices and min(prices.values()) < 0):
            raise ValueError(f"cap {cap_nanos} and prices {dict(prices)} must not be negative")
        self.prices = prices
        """Nano-dollars for a million of each unit."""
        self.named: Mapping[str, int] = named_counters(prices)
        """The counters of the units that only have names, by name."""
        self._cap_numerator = min(cap_nanos, MAX_NANOS) * PER_MILLION
        self._counters: Counters = [0] * COUNTERS if counters is None else counters
        self._spent = 0
        self.capped = False
        """True once the cap (or the grant's expiry) refused a unit; an engine that bounds work beforehand sets it."""
        self.closed = False
        """True once the grant has expired or the call has ended: nothing can be counted any more."""

    def take(self, unit: Unit, n: int = 1) -> int:
        """Count up to n units and return how many of them the cap allowed; fewer than n sets `capped`.

        Raises:
            ValueError: n is negative, or the unit only has a name and the grant does not list it.
        """
        if n < 0:
            raise ValueError(f"{unit_name(unit)}: cannot count {n}")
        if self.closed:
            if n:
                self.capped = True
            return 0
        price = self.prices.get(unit, 0)
        spent = self._spent + price * n
        if spent > self._cap_numerator:
            self.capped = True
            n = (self._cap_numerator - self._spent) // price
            spent = self._spent + price * n
        self._spent = spent
        self._counters[self._place(unit) if isinstance(unit, str) else unit] += n
        return n

    def add(self, unit: Unit, n: int = 1) -> None:
        """Count n units, or none.

        Raises:
            CapExceeded: they do not fit under the cap, or the grant has expired.
        """
        if self.would_exceed(unit, n):
            self.capped = True
            raise CapExceeded(
                f"budget exhausted: {n} {unit_name(unit)} cost more than the {self.remaining_nanos} nano-dollars left "
                "of the request's reservation"
                if not self.closed
                else "the request took longer than its grant allows"
            )
        self.take(unit, n)

    def take_all(self, unit: usage_pb2.Unit.ValueType, n: int) -> bool:
        """Count n units of a number if they all fit under the cap, else none; return whether they did."""
        spent = self._spent + self.prices.get(unit, 0) * n
        if spent > self._cap_numerator or (self.closed and n):
            return False
        if n:
            self._spent = spent
            self._counters[unit] += n
        return True

    def would_exceed(self, unit: Unit, n: int = 1) -> bool:
        """Return whether n more units would pass the cap."""
        return n > self.affordable(unit)

    def affordable(self, unit: Unit) -> int:
        """Return how many more of the unit fit under the cap: `MAX_NANOS` of a free one, 0 once the grant has
        expired.
        """
        if self.closed:
            return 0
        return affordable(
            self.prices.get(unit, 0), spent_numerator=self._spent, cap_nanos=self._cap_numerator // PER_MILLION
        )

    def cost_with(self, unit: Unit, n: int) -> int:
        """Return the charge there would be with n more units, in nano-dollars, rounded up."""
        return -(-(self._spent + self.prices.get(unit, 0) * n) // PER_MILLION)

    def raise_cap(self, cap_nanos: int) -> None:
        """Allow the call to cost so much from now on. Raises ValueError for less than before."""
        numerator = min(cap_nanos, MAX_NANOS) * PER_MILLION
        if numerator < self._cap_numerator:
            raise ValueError(f"cap {cap_nanos} is less than the {self._cap_numerator // PER_MILLION} before")
        self._cap_numerator = numerator

    @contextlib.contextmanager
    def unsent(self) -> Iterator[None]:
        """Return a block for work whose output is held back: what it counts is on record once it ends, and is forgotten
        where it fails or is cancelled, as if it had never been counted. Send the output after the block.
        """
        recorded, spent, capped = self._counters, self._spent, self.capped
        aside = self._counters = list(recorded)
        try:
            yield
        except BaseException:
            self._spent, self.capped = spent, capped
            raise
        else:
            for place in range(COUNTERS):
                recorded[place] = aside[place]
        finally:
            self._counters = recorded

    def count_in(self, counters: Counters) -> None:
        """Count in other counters from now on; call it before the first unit."""
        self._counters = counters

    def close(self) -> None:
        """Stop counting: nothing can be counted any more, and the counts can still be read."""
        self.closed = True
        self._counters = list(self._counters)

    def amount(self, unit: Unit) -> int:
        """Return how many of the unit were counted."""
        return self._counters[self._place(unit) if isinstance(unit, str) else unit]

    @property
    def amounts(self) -> dict[Unit, int]:
        """The counts by unit, without zeros."""
        return counted(self._counters, self.named)

    @property
    def cost_nanos(self) -> int:
        """The charge so far, rounded up once; never over the cap."""
        return -(-self._spent // PER_MILLION)

    @property
    def cap_nanos(self) -> int:
        """The bound on the call's cost, in nano-dollars."""
        return self._cap_numerator // PER_MILLION

    @property
    def remaining_nanos(self) -> int:
        """The rest of the cap, in nano-dollars, rounded down."""
        return (self._cap_numerator - self._spent) // PER_MILLION

    def usage(self) -> usage_pb2.Usage:
        """Return the counts and the charge in the contract's form."""
        return to_usage(self.amounts, cost=self.cost_nanos)

    def put_usage(self, usage: usage_pb2.Usage) -> None:
        """Write the counts and the charge into an empty message of the contract."""
        put_usage(usage, self.amounts, cost=self.cost_nanos)

    def _place(self, name: str) -> int:
        place = self.named.get(name)
        if place is None and name in UNITS:
            raise ValueError(f"unit {name!r} has a number: count it by UNIT_{name.upper()}")
        if place is None:
            known = ", ".join(self.named) or "none"
            raise ValueError(
                f"unit {name!r} is not in the grant, which lists {known}; declare it at the method in the contract"
            )
        return place


def named_counters(prices: Iterable[Unit]) -> Mapping[str, int]:
    """Return the counters of the units that only have names, by name: the same for the same grant in any process.

    Raises:
        ValueError: they are too many.
    """
    names = [unit for unit in prices if isinstance(unit, str)]
    if not names:
        return _NONE_NAMED
    if len(names) > _MAX_NAMED:
        raise ValueError(f"{len(names)} units without a number; at most {_MAX_NAMED} can be counted")
    return {name: place for place, name in enumerate(sorted(names), start=_NUMBERED)}


def counted(counters: Counters, named: Mapping[str, int]) -> dict[Unit, int]:
    """Return what counters hold, by unit, without zeros."""
    amounts: dict[Unit, int] = {unit: count for unit in _NUMBERS if (count := counters[unit])}
    for name, place in named.items():
        if count := counters[place]:
            amounts[name] = count
    return amounts
