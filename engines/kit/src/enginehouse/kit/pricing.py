"""Money: whole nano-dollars (10^-9 USD) in signed 64 bits, priced by the million units.

A cost is rounded up once, over all the units of a request together, so that the order and the number of steps in which
units are counted never change it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from enginehouse.api.common.v1 import usage_pb2

Unit: TypeAlias = "usage_pb2.Unit.ValueType | str"
"""A countable unit: its number where the contract's enum has one, else the name under which an engine's contract
declares it."""

MAX_NANOS = 2**63 - 1
PER_MILLION = 1_000_000

UNITS: Mapping[str, usage_pb2.Unit.ValueType] = MappingProxyType(
    {name.removeprefix("UNIT_").lower(): value for name, value in usage_pb2.Unit.items() if value}
)
"""Every unit that has a number, by the name that catalogs and reports use, such as "input_tokens"."""

UNIT_NAMES: Mapping[usage_pb2.Unit.ValueType, str] = MappingProxyType({unit: name for name, unit in UNITS.items()})
"""The names by number."""

MAX_NAMED_UNITS = 8
"""The number of units without a number that a model may have prices for, and that a method may count besides."""

UNIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}").fullmatch
"""The form of a unit's name."""


def unit_named(name: str) -> Unit:
    """Return the unit of that name."""
    return UNITS.get(name, name)


def unit_name(unit: Unit) -> str:
    """Return a unit's name, such as "input_tokens"."""
    return unit if isinstance(unit, str) else UNIT_NAMES.get(unit, str(unit))


def unit_of(entry: usage_pb2.UnitAmount | usage_pb2.UnitPrice) -> Unit:
    """Return the unit of an amount or a price in the contract's form."""
    return entry.unit or entry.name


def in_order(amounts: Mapping[Unit, int]) -> list[tuple[Unit, int]]:
    """Return the entries by unit: numbers first, then names."""
    try:
        return sorted(amounts.items())
    except TypeError:
        return sorted(amounts.items(), key=lambda entry: (isinstance(entry[0], str), entry[0]))


def prices_of(entries: Iterable[usage_pb2.UnitPrice]) -> dict[Unit, int]:
    """Return the nano-dollars for a million of each unit."""
    return {entry.unit or entry.name: entry.nanos_per_million for entry in entries}


def unit_price(unit: Unit, nanos_per_million: int) -> usage_pb2.UnitPrice:
    """Return a price in the contract's form."""
    if isinstance(unit, str):
        return usage_pb2.UnitPrice(name=unit, nanos_per_million=nanos_per_million)
    return usage_pb2.UnitPrice(unit=unit, nanos_per_million=nanos_per_million)


def unit_amount(unit: Unit, amount: int) -> usage_pb2.UnitAmount:
    """Return an amount in the contract's form."""
    if isinstance(unit, str):
        return usage_pb2.UnitAmount(name=unit, amount=amount)
    return usage_pb2.UnitAmount(unit=unit, amount=amount)


def price_numerator(prices: Mapping[Unit, int], amounts: Mapping[Unit, int]) -> int:
    """Return the exact cost in millionths of a nano-dollar. A unit without a price is free.

    Raises:
        ValueError: an amount or a price is negative.
    """
    total = 0
    for unit, amount in amounts.items():
        price = prices.get(unit, 0)
        if amount < 0 or price < 0:
            raise ValueError(f"{unit_name(unit)}: amount {amount} at price {price} must not be negative")
        total += price * amount
    return total


def cost_nanos(prices: Mapping[Unit, int], amounts: Mapping[Unit, int]) -> int:
    """Return the charge for the amounts, in nano-dollars, rounded up once.

    Args:
        prices: nano-dollars for a million of each unit; a unit that is not listed is free.
        amounts: how many of each unit.

    Raises:
        ValueError: an amount or a price is negative.
        OverflowError: the charge does not fit into 63 bits.
    """
    nanos = -(-price_numerator(prices, amounts) // PER_MILLION)
    if nanos > MAX_NANOS:
        raise OverflowError(f"cost too large: {nanos} nano-dollars is over {MAX_NANOS}")
    return nanos


def affordable(price_per_million: int, *, spent_numerator: int, cap_nanos: int) -> int:
    """Return how many more units fit under a cap: the greatest n that leaves the rounded-up cost at most `cap_nanos`.

    Args:
        price_per_million: the unit's price, nano-dollars for a million; a free unit always fits (`MAX_NANOS`).
        spent_numerator: what is spent, in millionths of a nano-dollar (`price_numerator`).
        cap_nanos: the cap in nano-dollars.
    """
    if price_per_million == 0:
        return MAX_NANOS
    return max(0, (cap_nanos * PER_MILLION - spent_numerator) // price_per_million)


def to_usage(amounts: Mapping[Unit, int], *, cost: int) -> usage_pb2.Usage:
    """Return amounts and their cost in the contract's form, without units of which there are none."""
    usage = usage_pb2.Usage()
    put_usage(usage, amounts, cost=cost)
    return usage


def put_usage(usage: usage_pb2.Usage, amounts: Mapping[Unit, int], *, cost: int) -> None:
    """Write amounts and their cost into an empty message, as `to_usage`, without a copy of it."""
    usage.cost_nanos = cost
    add = usage.units.add
    for unit, amount in in_order(amounts):
        if not amount:
            continue
        if isinstance(unit, str):
            add(name=unit, amount=amount)
        else:
            add(unit=unit, amount=amount)
