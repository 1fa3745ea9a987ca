"""Fits the weights: which prompts are stories with sums, what makes those hard, and how all of it maps to failing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from routing_set import EVERYDAY, STORY_TASKS, RoutingSet
from scipy.optimize import minimize, nnls

from enginehouse.router.predictor import KNOWLEDGE, STORY, PredictorWeights, WordTable, read

Numbers = dict[str, NDArray[np.float64]]

# What a typical spread of each number is worth before any data is seen: the longer and the more exact the work in the
# field, the more a small model fails. The public sets at hand have hardly two fields side by side, so this stays.
_BELIEVED = {
    "length": (0.85, 1.0),
    "need": (0.2, 1.0),
    "numbers": (0.8, 0.1),
    "symbols": (0.9, 0.05),
    "negation": (0.4, 0.15),
    "statements": (0.5, 0.15),
    "numeric_options": (0.35, 0.2),
}
# How firmly: questions that would have to speak against it. And what a spread's worth is in spreads of gain.
_FIRMNESS = 6000.0
_WORTH = 0.1
_STORY_RIDGE = 1000.0
_STEPS_RIDGE = 100.0
# Steps of the solution tell less of failing than failing itself, but far less noisily.
_STEPS_SHARE = 0.5
# How far the rest of a story's numbers move its score, beside its length: the share that both have in the fit.
_STORY_SPREAD = 1.2
# Stories with sums are arithmetic, whatever they tell of.
STORY_NEED = 0.9
# Log-odds of failing that a step of 1 in score is worth at least.
_MIN_SPREAD = 0.1
_MIDDLE = 0.5
# What everyday prompts count in that, beside a task of the set: what is asked every day is easier than exams.
_EVERYDAY_HEFT = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Fitted:
    """PredictorWeights, and the score of any numbers by them."""

    weights: PredictorWeights

    def score(self, numbers: Numbers) -> NDArray[np.float64]:
        """The score of each prompt, as `LearnedPredictor` has it."""
        return _linear(numbers, self.weights.knowledge) + numbers["sums"] * _linear(numbers, self.weights.story)


def numbers_of(texts: Sequence[str], table: WordTable) -> Numbers:
    """The readings of each text, by name."""
    readings = [read([text], table) for text in texts]
    numbers = {name: np.array([reading.numbers[name] for reading in readings]) for name in readings[0].numbers}
    numbers["need"] += numbers["sums"] * (STORY_NEED - numbers["need"])
    return numbers


def fit(data: RoutingSet, numbers: Numbers, chosen: NDArray[np.bool_]) -> Fitted:
    """Fit on the chosen questions."""
    return _calibrate(
        data,
        numbers,
        chosen,
        story=_fit_story(data, numbers, chosen),
        knowledge=_fit_knowledge(data, numbers, chosen),
    )


def _linear(numbers: Numbers, weights: dict[str, float] | object) -> NDArray[np.float64]:
    assert isinstance(weights, dict)
    return sum((weights[name] * numbers[name] for name in weights if name != "bias"), np.float64(weights["bias"]))


def _columns(numbers: Numbers, names: Sequence[str], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([numbers[name][rows] for name in names]).T


def _fit_story(data: RoutingSet, numbers: Numbers, chosen: NDArray[np.bool_]) -> dict[str, float]:
    """Nothing in a story makes it easier: least squares without negative weights, of gain and of the steps to take.

    Length has a part in both, which the knowledge's weights have already. The result has mean 0 over the stories
    chosen, and the spread `_STORY_SPREAD` in the unit of the beliefs.
    """
    tasks = [task for task in STORY_TASKS if (chosen & (data.tasks == task)).any()]
    rows = np.concatenate([np.flatnonzero(chosen & (data.tasks == task)) for task in tasks])
    x = np.array([numbers[name][rows] for name in ("length", *STORY)]).T
    mean, spread = x.mean(axis=0), x.std(axis=0)
    x = (x - mean) / spread
    gain = np.concatenate([_centred(data.gain(task)[chosen[data.tasks == task]].mean(axis=1)) for task in tasks])
    by_gain = _ridge(x, gain, _STORY_RIDGE)
    w = by_gain / (x @ by_gain).std()
    solved = ~np.isnan(data.steps[rows])
    if solved.any():
        by_steps = _ridge(x[solved], _centred(np.log(data.steps[rows][solved])), _STEPS_RIDGE)
        w += _STEPS_SHARE * by_steps / (x @ by_steps).std()
    w = w[1:] * _STORY_SPREAD / (x[:, 1:] @ w[1:]).std() / spread[1:]
    return {**dict(zip(STORY, map(float, w), strict=True)), "bias": -float(mean[1:] @ w)}


def _fit_knowledge(data: RoutingSet, numbers: Numbers, chosen: NDArray[np.bool_]) -> dict[str, float]:
    """Least squares without negative weights, drawn to what is believed; mean 0 over what was chosen."""
    spread = np.array([_BELIEVED[name][0] for name in KNOWLEDGE])
    believed = np.array([_BELIEVED[name][1] for name in KNOWLEDGE]) * _WORTH
    xs, ys = [], []
    for task in np.unique(data.tasks[chosen]):
        if task in STORY_TASKS or not data.pairs(task):
            continue
        x = _columns(numbers, KNOWLEDGE, chosen & (data.tasks == task)) / spread
        gain = data.gain(task)[chosen[data.tasks == task]].mean(axis=1)
        xs.append(x - x.mean(axis=0))
        ys.append(_centred(gain) / gain.std())
    w = _ridge(np.concatenate(xs), np.concatenate(ys), _FIRMNESS, towards=believed) / spread / _WORTH
    mean = float((_columns(numbers, KNOWLEDGE, chosen) @ w).mean())
    return {**dict(zip(KNOWLEDGE, map(float, w), strict=True)), "bias": -mean}


def _calibrate(
    data: RoutingSet,
    numbers: Numbers,
    chosen: NDArray[np.bool_],
    *,
    story: dict[str, float],
    knowledge: dict[str, float],
) -> Fitted:
    """Log-odds of failing by item response: what the score is worth, its level, and what quality is worth.

    A model's quality is how often it is right, every task counting alike.
    """
    fitted = Fitted(
        PredictorWeights(knowledge, story, STORY_NEED, spread=1.0, offset=0.0, steepness=1.0, middle=_MIDDLE)
    )
    quality = qualities(data)
    rows, columns = np.nonzero(~np.isnan(data.scores) & chosen[:, None])
    failed = 1 - data.scores[rows, columns]
    x = np.array([fitted.score(numbers)[rows], np.ones(len(rows)), _MIDDLE - quality[columns]]).T
    tasks, counts = np.unique(data.tasks[rows], return_counts=True)
    heft = {
        str(task): (_EVERYDAY_HEFT if task == EVERYDAY else 1) / count
        for task, count in zip(tasks, counts, strict=True)
    }
    weight = np.array([heft[str(task)] for task in data.tasks[rows]])
    weight /= weight.mean()

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = x @ w
        p = 1 / (1 + np.exp(-odds))
        return float(weight @ (np.logaddexp(0, odds) - failed * odds)), x.T @ (weight * (p - failed))

    bounds = [(_MIN_SPREAD, None), (None, None), (0.5, 20)]
    spread, offset, steepness = map(float, minimize(loss, np.array([0.3, 0.0, 4.0]), jac=True, bounds=bounds).x)
    return Fitted(dataclasses.replace(fitted.weights, spread=spread, offset=offset, steepness=steepness))


def qualities(data: RoutingSet) -> NDArray[np.float64]:
    """Of each model, 0 to 1: how often it is right, every task counting alike."""
    tasks = [task for task in np.unique(data.tasks) if task != EVERYDAY]
    means = np.array([data.scores[data.tasks == task].mean(axis=0) for task in tasks])
    means = means[~np.isnan(means).all(axis=1)]
    # A model is compared with the others on the tasks that it has: the mean of its lead, plus everybody's mean.
    lead = means - np.nanmean(means, axis=1, keepdims=True)
    return np.nanmean(lead, axis=0) + float(np.nanmean(means))


def _ridge(
    x: NDArray[np.float64], y: NDArray[np.float64], ridge: float, towards: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    pull = np.sqrt(ridge) * np.eye(x.shape[1])
    target = np.zeros(x.shape[1]) if towards is None else pull @ towards
    solved: NDArray[np.float64] = nnls(np.r_[x, pull], np.r_[y, target])[0]
    return solved


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values - values.mean()
