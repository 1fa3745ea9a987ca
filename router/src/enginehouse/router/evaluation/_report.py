"""Measures a router on answers, beside chance, prompt length and the oracle, and says what it saves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from enginehouse.router.evaluation._answers import Answers
from enginehouse.router.evaluation._curve import Floats, Ranking, apgr, cpt
from enginehouse.router.evaluation._equal_cost import (
    SHARES,
    SingleModel,
    best_mix,
    best_single,
    mean_scores,
    routed_scores,
)
from enginehouse.router.predictor.complexity import Predictor

_PARTS = (0.2, 0.5, 0.8)
# Shares of the gap at which costs are compared: an answer as good as half, most and nearly all of the strong model's.
_QUALITIES = (0.5, 0.8, 0.95)


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class RouterMeasures:
    """APGR and CPT(20), CPT(50), CPT(80) of one way to order the prompts; all 0 to 1 or so."""

    apgr: Measure
    cpt20: Measure
    cpt50: Measure
    cpt80: Measure


@dataclasses.dataclass(frozen=True, slots=True)
class Saving:
    """The cost saved against the strong model alone, for a part of the gap.

    Attributes:
        gap: the part of the gap recovered, 0 to 1.
        quality: the mean score then.
        router: the share of the strong model's cost that the router saves.
        random: the share that a random mix of the same quality saves.
    """

    gap: float
    quality: float
    router: float
    random: float


@dataclasses.dataclass(frozen=True, slots=True)
class EqualCost:
    """The router beside what needs none at the same cost.

    Attributes:
        share: of strong calls, 0 to 1.
        cost: of a prompt on average, in calls of the weak model.
        router: the mean score.
        single: the best single model that costs no more.
        single_score: its mean score.
        mix: the best random mix of two models that costs no more: the cheaper, the dearer and the share of the latter.
        mix_score: its mean score.
        ahead_of_single: by how much the router's mean score is higher.
        ahead_of_mix: likewise.
    """

    share: float
    cost: float
    router: float
    single: str
    single_score: float
    mix: tuple[str, str, float]
    mix_score: float
    ahead_of_single: Measure
    ahead_of_mix: Measure

    def as_text(self) -> str:
        """For people."""
        cheap, dear, part = self.mix
        mix = f"{1 - part:.0%} {cheap} and {part:.0%} {dear}" if part else cheap
        return (
            f"  {self.share:.0%} strong calls, cost {self.cost:.2f}: router {self.router:.4f}; "
            f"{self.single} alone {self.single_score:.4f}, router {_signed(self.ahead_of_single)}; "
            f"{mix} at random {self.mix_score:.4f}, router {_signed(self.ahead_of_mix)}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Everything measured; `price_ratio` is what a strong call costs in weak calls."""

    prompts: int
    weak: float
    strong: float
    router: RouterMeasures
    random: RouterMeasures
    length: RouterMeasures
    oracle: RouterMeasures
    price_ratio: float
    savings: tuple[Saving, ...]
    equal_cost: tuple[EqualCost, ...]
    resamples: int
    seed: int

    def as_json(self) -> dict[str, Any]:
        """For machines: the router's `apgr`, `cpt20`, `cpt50` and `cpt80` at the top level, the rest below it."""
        interval = {name: [measure.low, measure.high] for name, measure in _by_name(self.router)}
        return {
            **{name: measure.value for name, measure in _by_name(self.router)},
            "intervals": interval,
            "baselines": {
                name: {key: dataclasses.asdict(measure) for key, measure in _by_name(measures)}
                for name, measures in (("random", self.random), ("length", self.length), ("oracle", self.oracle))
            },
            "prompts": self.prompts,
            "weak": self.weak,
            "strong": self.strong,
            "price_ratio": self.price_ratio,
            "savings": [dataclasses.asdict(saving) for saving in self.savings],
            "equal_cost": [dataclasses.asdict(row) for row in self.equal_cost],
            "resamples": self.resamples,
            "seed": self.seed,
        }

    def as_text(self) -> str:
        """For people."""
        lines = [
            f"{self.prompts} prompts; mean score {self.weak:.4f} weak, {self.strong:.4f} strong",
            f"{'':8}{'APGR':>22}{'CPT(20)':>24}{'CPT(50)':>24}{'CPT(80)':>24}",
        ]
        for name, measures in (
            ("router", self.router),
            ("random", self.random),
            ("length", self.length),
            ("oracle", self.oracle),
        ):
            cells = [f"{measures.apgr.value:.3f} [{measures.apgr.low:.3f}, {measures.apgr.high:.3f}]"]
            cells += [
                f"{cost.value:.1%} [{cost.low:.1%}, {cost.high:.1%}]"
                for cost in (measures.cpt20, measures.cpt50, measures.cpt80)
            ]
            lines.append(f"{name:8}{cells[0]:>22}" + "".join(f"{cell:>24}" for cell in cells[1:]))
        lines.append(f"a strong call costs {self.price_ratio:g} weak ones; saved against the strong model alone:")
        lines += [
            f"  {saving.gap:.0%} of the gap (score {saving.quality:.4f}): {saving.router:.1%}, "
            f"by a random mix {saving.random:.1%}"
            for saving in self.savings
        ]
        lines.append("at the same cost, in weak calls a prompt:")
        lines += [row.as_text() for row in self.equal_cost]
        lines.append(f"in brackets: 95 % intervals of {self.resamples} bootstrap resamples, seed {self.seed}")
        return "\n".join(lines)


def evaluate(
    answers: Answers,
    predictor: Predictor,
    *,
    price_ratio: float,
    resamples: int,
    seed: int,
    prices: Mapping[str, float] | None = None,
) -> Report:
    """Measure a predictor: each prompt alone is given to it, and its complexity is the router's score.

    Args:
        price_ratio: what a strong call costs in weak calls, over 1.
        resamples: of the prompts, for the intervals; a resample without a gap says nothing and is left out.
        seed: of the resamples.
        prices: what a call of each other model of the answers costs in weak calls.
    """
    gains = answers.strong - answers.weak
    rankings = {
        "router": Ranking(np.array([predictor.predict([prompt]).complexity for prompt in answers.prompts]), gains),
        "random": Ranking(np.zeros(len(gains)), gains),
        "length": Ranking(np.array([float(len(prompt)) for prompt in answers.prompts]), gains),
        "oracle": Ranking(gains, gains),
    }
    drawn = _bootstrap(list(rankings.values()), len(gains), resamples=resamples, seed=seed)
    measured = {
        name: _measures(_numbers(ranking, None), samples)
        for (name, ranking), samples in zip(rankings.items(), drawn, strict=True)
    }
    weak, strong = float(answers.weak.mean()), float(answers.strong.mean())
    shares, recovered = rankings["router"].curve()
    savings = tuple(
        Saving(
            gap=gap,
            quality=weak + gap * (strong - weak),
            router=(1 - cpt(shares, recovered, gap)) * (1 - 1 / price_ratio),
            random=(1 - gap) * (1 - 1 / price_ratio),
        )
        for gap in _QUALITIES
    )
    return Report(
        prompts=len(gains),
        weak=weak,
        strong=strong,
        router=measured["router"],
        random=measured["random"],
        length=measured["length"],
        oracle=measured["oracle"],
        price_ratio=price_ratio,
        savings=savings,
        equal_cost=_equal_cost(
            rankings["router"],
            answers,
            [
                SingleModel("weak", 1.0, answers.weak),
                SingleModel("strong", price_ratio, answers.strong),
                *(SingleModel(name, price, answers.others[name]) for name, price in (prices or {}).items()),
            ],
            resamples=resamples,
            seed=seed,
        ),
        resamples=resamples,
        seed=seed,
    )


def _numbers(ranking: Ranking, weights: Floats | None) -> list[float]:
    shares, recovered = ranking.curve(weights)
    return [apgr(shares, recovered), *(cpt(shares, recovered, part) for part in _PARTS)]


def _bootstrap(rankings: Sequence[Ranking], prompts: int, *, resamples: int, seed: int) -> list[Floats]:
    """Of each ranking, its numbers for the same resamples; shape (resamples, numbers)."""
    taken: list[list[list[float]]] = [[] for _ in rankings]
    for weights in _resamples(prompts, resamples=resamples, seed=seed):
        for one, ranking in zip(taken, rankings, strict=True):
            one.append(_numbers(ranking, weights))
    return [np.array(share) for share in taken]


def _resamples(prompts: int, *, resamples: int, seed: int) -> Iterator[Floats]:
    """The number of times that each prompt is drawn, of each resample."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(prompts, size=prompts), minlength=prompts).astype(np.float64)


def _equal_cost(
    ranking: Ranking, answers: Answers, models: Sequence[SingleModel], *, resamples: int, seed: int
) -> tuple[EqualCost, ...]:
    weak, strong = models[0], models[1]
    costs = [weak.price + share * (strong.price - weak.price) for share in SHARES]
    rivals = [(best_single(models, cost), best_mix(models, cost)) for cost in costs]

    def ahead(weights: Floats | None) -> list[float]:
        means = mean_scores(models, weights)
        routed = routed_scores(ranking, means, weights).tolist()
        return [score - rival.score(means) for score, pair in zip(routed, rivals, strict=True) for rival in pair]

    means = mean_scores(models)
    routed = routed_scores(ranking, means).tolist()
    samples = np.array([ahead(weights) for weights in _resamples(len(answers.prompts), resamples=resamples, seed=seed)])
    leads = [_measure(value, samples[:, place]) for place, value in enumerate(ahead(None))]
    return tuple(
        EqualCost(
            share=share,
            cost=cost,
            router=score,
            single=single.cheap,
            single_score=single.score(means),
            mix=(mix.cheap, mix.dear, mix.share),
            mix_score=mix.score(means),
            ahead_of_single=of_single,
            ahead_of_mix=of_mix,
        )
        for share, cost, score, (single, mix), of_single, of_mix in zip(
            SHARES, costs, routed, rivals, leads[::2], leads[1::2], strict=True
        )
    )


def _measures(values: list[float], samples: Floats) -> RouterMeasures:
    return RouterMeasures(*(_measure(value, samples[:, place]) for place, value in enumerate(values)))


def _measure(value: float, samples: Floats) -> Measure:
    known = samples[~np.isnan(samples)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (value, value)
    return Measure(value, float(low), float(high))


def _signed(measure: Measure) -> str:
    return f"{measure.value:+.4f} [{measure.low:+.4f}, {measure.high:+.4f}]"


def _by_name(measures: RouterMeasures) -> list[tuple[str, Measure]]:
    return [
        ("apgr", measures.apgr),
        ("cpt20", measures.cpt20),
        ("cpt50", measures.cpt50),
        ("cpt80", measures.cpt80),
    ]
