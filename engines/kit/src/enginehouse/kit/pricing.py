"""Money: whole nano-dollars (10^-9 USD) in signed 64 bits, priced by the million units.

A cost is rounded up once, over all the units of a request together, so that the order and the number of steps in which
units are counted never change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from enginehouse.api.common.v1 import usage_pb2

Unit: TypeAlias = "usage_pb2.Unit.ValueType"

MAX_NANOS = 2**63 - 1
PER_MILLION = 1_000_000

UNITS: Mapping[str, Unit] = MappingProxyType(
    {name.removeprefix("UNIT_").lower(): value for name, value in usage_pb2.Unit.items() if value}
)
"""Every unit by the name that catalogs and reports use, such as "input_tokens"."""

UNIT_NAMES: Mapping[Unit, str] = MappingProxyType({unit: name for name, unit in UNITS.items()})
"""The names by unit."""


def price_numerator(prices: Mapping[Unit, int], amounts: Mapping[Unit, int]) -> int:
    """The exact cost in millionths of a nano-dollar. A unit without a price is free.

    Raises:
        ValueError: an amount or a price is negative.
    """
    total = 0
    for unit, amount in amounts.items():
        price = prices.get(unit, 0)
        if amount < 0 or price < 0:
            raise ValueError(f"{UNIT_NAMES.get(unit, unit)}: amount {amount} at price {price} must not be negative")
        total += price * amount
    return total


def cost_nanos(prices: Mapping[Unit, int], amounts: Mapping[Unit, int]) -> int:
    """The charge for the amounts, in nano-dollars, rounded up once.

    Args:
        prices: nano-dollars for a million of each unit; a unit that is not listed is free.
        amounts: how many of each unit.

    Raises:
        ValueError: an amount or a price is negative.
        OverflowError: the charge does not fit into 63 bits.
    """
    nanos = -(-price_numerator(prices, amounts) // PER_MILLION)
    if nanos > MAX_NANOS:
        raise OverflowError(f"a cost of {nanos} nano-dollars is over {MAX_NANOS}")
    return nanos


def affordable(price_per_million: int, *, spent_numerator: int, cap_nanos: int) -> int:
    """How many more units fit under a cap: the greatest n that leaves the rounded-up cost at most `cap_nanos`.

    Args:
        price_per_million: the unit's price, nano-dollars for a million; a free unit always fits (`MAX_NANOS`).
        spent_numerator: what is spent, in millionths of a nano-dollar (`price_numerator`).
        cap_nanos: the cap in nano-dollars.
    """
    if price_per_million == 0:
        return MAX_NANOS
    return max(0, (cap_nanos * PER_MILLION - spent_numerator) // price_per_million)


def to_usage(amounts: Mapping[Unit, int], *, cost: int) -> usage_pb2.Usage:
    """The contract's form of amounts and their cost; units of which there are none are left out."""
    usage = usage_pb2.Usage(cost_nanos=cost)
    for unit, amount in sorted(amounts.items()):
        if amount:
            usage.units.add(unit=unit, amount=amount)
    return usage
