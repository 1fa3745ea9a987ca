"""A model at the prices that one caller pays now, and the most that a request may cost at them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.pricing import MAX_NANOS, PER_MILLION, Unit, in_order
from enginehouse.router.request import InferenceRequest, Task

# Bytes; vocabularies hold runs of up to 128 spaces or dashes.
_MAX_TOKEN_LENGTH = 256

UNBOUNDED_NANOS = MAX_NANOS
"""The bound of a request that nothing bounds."""

WHOLE = 10_000
"""Basis points in one: a discount of so many makes a model free."""


def discounted(price: int, basis_points: int) -> int:
    """A price a million units after a discount, in nano-dollars, rounded up.

    It is at most one nano-dollar a million units dearer than the exact one, and never negative.
    """
    return -(-price * (WHOLE - basis_points) // WHOLE)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A model with what its bound is computed from. One offer is one object, so it can be a key.

    Attributes:
        model: what is offered.
        prices: nano-dollars for a million of each unit, as the grant carries them.
        discount_basis_points: what was taken off the list's prices, in hundredths of a percent.
        read_price: the dearest that a token of the prompt can be, for it may come from a cache or not.
        write_price: what a token of the answer costs.
        context: most tokens of prompt and answer; 0 where tokens mean nothing.
        default_output: the most tokens of an answer where the request names none.
    """

    model: CatalogModel
    prices: Mapping[Unit, int]
    discount_basis_points: int
    read_price: int
    write_price: int
    context: int
    default_output: int

    @classmethod
    def of(cls, model: CatalogModel, prices: Mapping[Unit, int] | None = None, *, basis_points: int = 0) -> Offer:
        """The offer of a model at these list prices (the catalog's if left out), less a discount."""
        listed = model.prices if prices is None else prices
        paid = {unit: discounted(price, basis_points) for unit, price in in_order(listed)}
        return cls(
            model,
            paid,
            basis_points,
            max(paid.get(usage_pb2.UNIT_INPUT_TOKENS, 0), paid.get(usage_pb2.UNIT_CACHED_INPUT_TOKENS, 0)),
            paid.get(usage_pb2.UNIT_OUTPUT_TOKENS, 0),
            model.context_tokens,
            model.max_output_tokens or model.context_tokens,
        )

    def output_tokens(self, ask: InferenceRequest) -> int:
        """The most that one choice may have."""
        wanted = ask.max_output_tokens or self.default_output
        return wanted if wanted < self.context or not self.context else self.context

    def min_nanos(self, ask: InferenceRequest) -> int:
        """Less than this no request of that size can cost, for no vocabulary has a longer token."""
        if ask.task not in (Task.GENERATE, Task.EMBED):
            return 0
        price = self.prices.get(usage_pb2.UNIT_INPUT_TOKENS, 0)
        cheapest = min(price, self.prices.get(usage_pb2.UNIT_CACHED_INPUT_TOKENS, price))
        read = max(1, (ask.input_bytes or sum(ask.inputs)) // _MAX_TOKEN_LENGTH)
        return -(-min(read, self.context or read) * cheapest // PER_MILLION)

    def bound_nanos(self, ask: InferenceRequest) -> int:
        """Return the most that the request may cost: every byte a token, every choice at its full length, every unit
        that the request bounds by itself at its bound. What an engine counts beyond that, the cap stops.

        `UNBOUNDED_NANOS` where nothing bounds it but the cap that its caller or its key gives.
        """
        if ask.any_unit:
            return self._any_unit_bound(ask)
        context = self.context
        if ask.task == Task.GENERATE:
            read = ask.input_bytes
            if context and read > context:
                read = context
            total = read * self.read_price + ask.choices * self.output_tokens(ask) * self.write_price
        elif ask.task == Task.EMBED:
            read = sum([min(size, context) for size in ask.inputs]) if context else sum(ask.inputs)
            total = read * self.read_price
        else:
            total = 0
        if ask.units:
            price = self.prices.get
            total += sum([amount * price(unit, 0) for unit, amount in ask.units.items()])
        return -(-total // PER_MILLION)

    def _any_unit_bound(self, ask: InferenceRequest) -> int:
        """Return the sum over all units with a price, each at its bound in the request or at the model's limit."""
        asked, limits, total = ask.units or {}, self.model.max_units, 0
        for unit, price in self.prices.items():
            amounts = [bounds[unit] for bounds in (asked, limits) if unit in bounds]
            if amounts:
                total += min(amounts) * price
            elif price:
                return UNBOUNDED_NANOS
        return -(-total // PER_MILLION)
