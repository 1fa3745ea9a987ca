"""The predictor's quality on questions, and on whole tasks, that it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fit import Fitted, Numbers, fit, qualities
from numpy.typing import NDArray
from routing_set import RoutingSet

_FOLDS = 5
_REPEATS = 4
_BINS = 10


def figures(data: RoutingSet, numbers: Numbers, *, seed: int) -> dict[str, object]:
    """APGR by task, beside that of length alone, and how well failing is predicted.

    `unseen_questions` holds out a fifth of the questions of every task in turn, `unseen_task` a whole task. By task:
    the mean over the pairs of models, the least and the most, and how much more than length with its 95 % interval
    (bootstrap over questions).
    """
    rng = np.random.default_rng(seed)
    by_question = []
    calibration = []
    for _ in range(_REPEATS):
        score = np.zeros(len(data.tasks))
        complexity = np.zeros(len(data.tasks))
        fold = rng.integers(_FOLDS, size=len(data.tasks))
        for number in range(_FOLDS):
            fitted = fit(data, numbers, fold != number)
            held = fold == number
            score[held] = fitted.score(numbers)[held]
            complexity[held] = fitted.weights.spread * score[held] + fitted.weights.offset
        by_question.append(score)
        calibration.append(_calibration(data, complexity, fitted))
    by_task = np.zeros(len(data.tasks))
    for task in np.unique(data.tasks):
        held = data.tasks == task
        by_task[held] = fit(data, numbers, ~held).score(numbers)[held]
    tasks = [str(task) for task in np.unique(data.tasks) if data.pairs(str(task))]
    return {
        "unseen_questions": {task: _task(data, numbers, np.mean(by_question, axis=0), task, rng) for task in tasks},
        "unseen_task": {task: _task(data, numbers, by_task, task, rng) for task in tasks},
        "calibration": {key: float(np.mean([row[key] for row in calibration])) for key in calibration[0]},
    }


def _task(
    data: RoutingSet, numbers: Numbers, score: NDArray[np.float64], task: str, rng: np.random.Generator
) -> dict[str, object]:
    rows = data.tasks == task
    gain = data.gain(task)
    apgr = _apgr_over(gain)
    learned, length = apgr(score[rows]), apgr(numbers["length"][rows])
    more = []
    for _ in range(500):
        drawn = rng.integers(len(gain), size=len(gain))
        over = _apgr_over(gain[drawn])
        more.append(np.mean(over(score[rows][drawn]) - over(numbers["length"][rows][drawn])))
    return {
        "questions": int(rows.sum()),
        "pairs": gain.shape[1],
        "apgr": round(float(learned.mean()), 3),
        "range": [round(float(learned.min()), 3), round(float(learned.max()), 3)],
        "length": round(float(length.mean()), 3),
        "more_than_length": [round(float(at), 3) for at in np.quantile(more, (0.025, 0.5, 0.975))],
    }


def _apgr_over(gain: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    def apgr(score: NDArray[np.float64]) -> NDArray[np.float64]:
        order = np.argsort(-score, kind="stable")
        recovered = np.cumsum(gain[order], axis=0) / gain.sum(axis=0)
        return recovered.mean(axis=0) - 0.5 / len(gain)

    return apgr


def _calibration(data: RoutingSet, log_odds: NDArray[np.float64], fitted: Fitted) -> dict[str, float]:
    """Brier scores of whether an answer suffices, beside a predictor that knows the model alone; tasks count alike."""
    quality = qualities(data)
    rows, columns = np.nonzero(~np.isnan(data.scores))
    right = data.scores[rows, columns]
    tasks, place, counts = np.unique(data.tasks[rows], return_inverse=True, return_counts=True)
    weight = 1 / counts[place] / len(tasks)
    odds = fitted.weights.steepness * (quality[columns] - fitted.weights.middle) - log_odds[rows]
    predicted = 1 / (1 + np.exp(-odds))
    by_model = np.bincount(columns, weight * right) / np.bincount(columns, weight)
    bins = np.minimum((predicted * _BINS).astype(int), _BINS - 1)
    return {
        "brier": float(weight @ (predicted - right) ** 2),
        "brier_model_alone": float(weight @ (by_model[columns] - right) ** 2),
        "expected_calibration_error": float(np.abs(np.bincount(bins, weight * (predicted - right))).sum()),
    }
