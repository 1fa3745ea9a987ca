"""The complexity of a prompt, from 0 (trivial) to 1, so that `auto` can pick a model that is just good enough."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

# Keeps log-odds finite.
_LEAST = 1e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for a prompt.

    Attributes:
        complexity: the probability, 0 to 1, that the answer of a model of quality `middle` doesn't suffice.
        features: the named numbers that it came from.
        steepness: by how much a step of 1 in quality raises the log-odds that an answer suffices.
        middle: a quality, 0 to 1.
    """

    complexity: float
    features: tuple[tuple[str, float], ...]
    steepness: float = 4.0
    middle: float = 0.5

    def suffices(self, quality: float) -> float:
        """The probability that the answer of a model of that quality (0 to 1, as in the catalog) suffices.

        A two-parameter logistic curve of item response theory: every model, known in training or not, is a quality.
        """
        fails = min(1 - _LEAST, max(_LEAST, self.complexity))
        return 1 / (1 + fails / (1 - fails) * math.exp(-self.steepness * (quality - self.middle)))


class Predictor(Protocol):
    """Predicts from the prompt's texts, in microseconds and without I/O."""

    def predict(self, texts: Sequence[str]) -> Prediction:
        """Return the prediction for a request with these texts, oldest first."""
