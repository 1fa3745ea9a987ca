"""Usage and prices by the units' names as the catalog writes them, such as `input_tokens`."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse.api.common.v1 import usage_pb2


def usage_by_unit(usage: usage_pb2.Usage) -> dict[str, int]:
    """Return the amounts by unit."""
    return {_unit_name(entry): entry.amount for entry in usage.units}


def price_by_unit(prices: Iterable[usage_pb2.UnitPrice]) -> dict[str, int]:
    """Return the prices by unit, in nano-dollars a million."""
    return {_unit_name(price): price.nanos_per_million for price in prices}


def _unit_name(entry: usage_pb2.UnitAmount | usage_pb2.UnitPrice) -> str:
    # A unit has a number or, where an engine's own contract declares it, a name.
    return entry.name or usage_pb2.Unit.Name(entry.unit).removeprefix("UNIT_").lower()
