"""Compares a router with what needs none at the same cost: one model for every prompt, or two mixed at random.

A router is worth its place only if its answers are better than those of the best single model whose average price is
no higher than what routing costs. Between the prices of two models a random mix costs the same, so the best of those
is the harder rival.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from enginehouse.router.evaluation._curve import Floats, Ranking

SHARES = (0.1, 0.25, 0.5, 0.75)


@dataclasses.dataclass(frozen=True, slots=True)
class SingleModel:
    """A model that could serve every prompt: its price in calls of the weak model, and its score on each prompt."""

    name: str
    price: float
    scores: Floats


@dataclasses.dataclass(frozen=True, slots=True)
class Rival:
    """A choice without a router: the model `cheap` for all prompts, or `dear` for a random `share` of them."""

    cheap: str
    dear: str
    share: float

    def score(self, means: Mapping[str, float]) -> float:
        """The mean score, from those of the models by name."""
        return means[self.cheap] + self.share * (means[self.dear] - means[self.cheap])


def mean_scores(models: Sequence[SingleModel], weights: Floats | None = None) -> dict[str, float]:
    """The mean score of each model, by name, over prompts that count by weights."""
    return {model.name: float(np.average(model.scores, weights=weights)) for model in models}


def best_single(models: Sequence[SingleModel], cost: float) -> Rival:
    """The single model with the best mean score whose price is no more than a cost; one at least must be."""
    means = mean_scores(models)
    best = max((model for model in models if model.price <= cost), key=lambda model: (means[model.name], -model.price))
    return Rival(best.name, best.name, 0.0)


def best_mix(models: Sequence[SingleModel], cost: float) -> Rival:
    """The best mix of two models that costs no more; a single model where no mix is better."""
    means = mean_scores(models)
    best = best_single(models, cost)
    for cheap in models:
        for dear in models:
            if cheap.price <= cost < dear.price:
                mix = Rival(cheap.name, dear.name, (cost - cheap.price) / (dear.price - cheap.price))
                if mix.score(means) > best.score(means):
                    best = mix
    return best


def routed_scores(ranking: Ranking, means: Mapping[str, float], weights: Floats | None = None) -> Floats:
    """The mean scores where those of SHARES that the router ranks highest go to the model `strong`, the rest to `weak`.

    Args:
        ranking: the prompts, as the router ranks them.
        means: of the models, over the same weights.
        weights: of the prompts.
    """
    shares, recovered = ranking.curve(weights)
    # Where a resample has no gap, nothing is known of what was recovered.
    routed: Floats = means["weak"] + (means["strong"] - means["weak"]) * np.interp(SHARES, shares, recovered)
    return routed
