"""The learned predictor: what was read of a prompt, weighed by an artefact that training made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from enginehouse.router.predictor._reading import KNOWLEDGE, STORY, read
from enginehouse.router.predictor._words import WordTable
from enginehouse.router.predictor.complexity import Prediction


@dataclasses.dataclass(frozen=True, slots=True)
class PredictorWeights:
    """Everything learned besides the words.

    The score of a prompt is the weighed numbers of KNOWLEDGE, and as far as it is a story with sums those of STORY;
    the log-odds that a model of quality q suffices are `steepness` (q - `middle`) - `spread` * score - `offset`.

    Attributes:
        knowledge: a weight for each of KNOWLEDGE, and "bias".
        story: a weight for each of STORY, and "bias".
        story_need: the need of a story with sums, whatever it tells of.
    """

    knowledge: Mapping[str, float]
    story: Mapping[str, float]
    story_need: float
    spread: float
    offset: float
    steepness: float
    middle: float


class LearnedPredictor:
    """Predicts how likely a small model fails at a prompt, in tens of microseconds, no more for any length."""

    def __init__(self, *, weights: PredictorWeights, words: WordTable) -> None:
        self._words = words
        self._knowledge = [(name, weights.knowledge[name]) for name in KNOWLEDGE]
        self._story = [(name, weights.story[name]) for name in STORY]
        self._biases = (weights.knowledge["bias"], weights.story["bias"])
        self._story_need = weights.story_need
        self._spread, self._offset = weights.spread, weights.offset
        self._steepness, self._middle = weights.steepness, weights.middle

    def predict(self, texts: Sequence[str]) -> Prediction:
        """The complexity of a request with these texts, oldest first: the probability that a model of quality
        `middle` fails. Its features are what was read, the field that it speaks of most, and the score."""
        reading = read(texts, self._words)
        numbers = reading.numbers
        sums = numbers["sums"]
        numbers["need"] += sums * (self._story_need - numbers["need"])
        score, story = self._biases
        score += sum([weight * numbers[name] for name, weight in self._knowledge])
        if sums:
            score += sums * (story + sum([weight * numbers[name] for name, weight in self._story]))
        features = [*numbers.items(), ("score", score)]
        if reading.field:
            features.append((f"field.{reading.field}", reading.probability))
        return Prediction(
            complexity=_logistic(self._offset + self._spread * score),
            features=tuple(features),
            steepness=self._steepness,
            middle=self._middle,
        )


def _logistic(log_odds: float) -> float:
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, log_odds))))
