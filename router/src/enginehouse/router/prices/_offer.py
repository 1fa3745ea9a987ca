"""An offer: a model at the prices that one caller pays now, and the bounds of a request's cost at them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.pricing import MAX_NANOS, PER_MILLION, Unit, in_order
from enginehouse.router.request import InferenceRequest, Task

# In bytes. Vocabularies have tokens of up to 128 spaces or dashes.
_MAX_TOKEN_LENGTH = 256

UNBOUNDED_NANOS = MAX_NANOS
"""The bound of a request whose cost has no bound."""

_ALL_BP = 10_000
"""All of the price, in basis points: a discount of so many makes a model free."""


def discounted(price: int, basis_points: int) -> int:
    """Return a price for a million units after a discount, in nano-dollars, rounded up.

    It is at most one nano-dollar higher than the exact price, and never negative.
    """
    return -(-price * (_ALL_BP - basis_points) // _ALL_BP)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A model and its prices for a caller. Offers compare by identity, so that they can be keys.

    Attributes:
        model: the model.
        prices: nano-dollars for a million of each unit, as the grant carries them.
        discount_basis_points: the discount from the list prices, in hundredths of a percent.
        read_price: the highest price of a prompt token, which may come from a cache or not.
        write_price: the price of an answer token.
        context: the most tokens of prompt and answer; 0 for a model without tokens.
        default_output: the most tokens of an answer if the request names no number.
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
        """Return the offer of a model at these list prices (the catalog's if left out), less a discount."""
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
        """Return the most output tokens that one choice may have."""
        wanted = ask.max_output_tokens or self.default_output
        return wanted if wanted < self.context or not self.context else self.context

    def min_nanos(self, ask: InferenceRequest) -> int:
        """Return the least that a request of this size can cost: as if all its tokens had the greatest length."""
        if ask.task not in (Task.GENERATE, Task.EMBED):
            return 0
        price = self.prices.get(usage_pb2.UNIT_INPUT_TOKENS, 0)
        cheapest = min(price, self.prices.get(usage_pb2.UNIT_CACHED_INPUT_TOKENS, price))
        read = max(1, (ask.input_bytes or sum(ask.inputs)) // _MAX_TOKEN_LENGTH)
        return -(-min(read, self.context or read) * cheapest // PER_MILLION)

    def bound_nanos(self, ask: InferenceRequest) -> int:
        """Return the most that the request may cost.

        It counts every byte as a token, every choice at its full length, and every unit that the request bounds at its
        bound. The cap stops an engine that counts more. `UNBOUNDED_NANOS` if only a cap of the caller or the key bounds
        the cost.
        """
        if ask.any_unit:
            return self._any_unit_bound(ask)
        context = self.context
        if ask.task == Task.GENERATE:
            if ask.inputs and context:
                # Each of several prompts may fill the context.
                read = sum([min(size, context) for size in ask.inputs])
            else:
                read = ask.input_bytes if not context or ask.input_bytes < context else context
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

    def full_nanos(self, ask: InferenceRequest) -> int:
        """Return the most that the request may cost if its prompts fill the context, however few their bytes are."""
        if ask.any_unit or not self.context or ask.task not in (Task.GENERATE, Task.EMBED):
            return self.bound_nanos(ask)
        full = dataclasses.replace(ask, inputs=[self.context] * max(1, len(ask.inputs)))
        return min(self.bound_nanos(full), MAX_NANOS)

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
