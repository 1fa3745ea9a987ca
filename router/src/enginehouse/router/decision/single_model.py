"""Compares what routing costs and gives over recent requests with one model for all of them."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from enginehouse.router.predictor.complexity import Prediction
from enginehouse.router.prices import Offer
from enginehouse.router.request import InferenceRequest, Task

# Requests remembered of all tenants together.
_REMEMBERED = 1000


class RoutedRequest(NamedTuple):
    """A choice of the router's, with the sizes that its price follows from, and no text."""

    tenant_id: str
    model: str
    input_bytes: int
    max_output_tokens: int
    choices: int
    complexity: float
    steepness: float
    middle: float


@dataclasses.dataclass(frozen=True, slots=True)
class SingleModelComparison:
    """Routing beside the best single model that costs no more, each per request on average.

    Attributes:
        requests: how many recent ones it is over.
        routed_nanos: the most that they could cost on the models chosen.
        routed_sufficiency: the predicted probability that the answers suffice, 0 to 1.
        model: the model that suffices most often of those that could cost no more; empty if all are dearer.
        nanos: the most that the requests could cost on it.
        sufficiency: how often its answers are predicted to suffice.
    """

    requests: int
    routed_nanos: int
    routed_sufficiency: float
    model: str = ""
    nanos: int = 0
    sufficiency: float = 0.0


class RecentChoices:
    """The router's latest choices for requests of text."""

    def __init__(self, *, size: int = _REMEMBERED) -> None:
        self._latest: deque[RoutedRequest] = deque(maxlen=size)

    def note(self, tenant_id: str, model: str, request: InferenceRequest, prediction: Prediction | None) -> None:
        """Remember the choice of a model, if it was free and for a text."""
        if prediction is None or request.task != Task.GENERATE or request.units or request.any_unit:
            return
        self._latest.append(
            RoutedRequest(
                tenant_id,
                model,
                request.input_bytes,
                request.max_output_tokens,
                request.choices,
                prediction.complexity,
                prediction.steepness,
                prediction.middle,
            )
        )

    def of(self, tenant_id: str) -> Iterator[RoutedRequest]:
        """The choices for a tenant, the oldest first."""
        return (choice for choice in list(self._latest) if choice.tenant_id == tenant_id)


def compare(choices: Iterable[RoutedRequest], offers: Iterable[Offer]) -> SingleModelComparison | None:
    """Compare choices with each of the offers that could serve them all; None without a choice among the offers.

    Prices are bounds, as budgets hold them, at what the offers cost now.
    """
    by_name = {offer.model.name: offer for offer in offers}
    taken = [choice for choice in choices if choice.model in by_name]
    if not taken:
        return None
    asked = [
        InferenceRequest(
            Task.GENERATE,
            input_bytes=choice.input_bytes,
            max_output_tokens=choice.max_output_tokens,
            choices=choice.choices,
        )
        for choice in taken
    ]
    predicted = [Prediction(choice.complexity, (), choice.steepness, choice.middle) for choice in taken]
    routed = [by_name[choice.model] for choice in taken]
    cost = _mean([offer.bound_nanos(request) for offer, request in zip(routed, asked, strict=True)])
    best = SingleModelComparison(
        requests=len(taken),
        routed_nanos=round(cost),
        routed_sufficiency=_mean(
            [prediction.suffices(offer.model.quality) for offer, prediction in zip(routed, predicted, strict=True)]
        ),
    )
    for name, offer in sorted(by_name.items()):
        price = _mean([offer.bound_nanos(request) for request in asked])
        suffices = _mean([prediction.suffices(offer.model.quality) for prediction in predicted])
        if price <= cost and (not best.model or suffices > best.sufficiency):
            best = dataclasses.replace(best, model=name, nanos=round(price), sufficiency=suffices)
    return best


def _mean(values: list[float] | list[int]) -> float:
    return sum(values) / len(values)
