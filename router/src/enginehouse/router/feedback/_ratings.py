"""What feedback says of models, by class of prompt: sums a day, and what they weigh today."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

ONE = 1_000_000
"""A score of 1, in the whole numbers that scores are kept in, so that a rating can be taken back exactly."""


@dataclasses.dataclass(frozen=True, slots=True)
class Day:
    """The ratings of one model's answers to prompts of one class on one day, which counts from 1970 in UTC."""

    model: str
    prompt_class: str
    day: int
    ratings: int
    score_millionths: int


class Ratings:
    """Every model's ratings as they were read. Never changes, so that decisions upon it are reproducible."""

    def __init__(self, days: Iterable[Day], *, today: int) -> None:
        self._days = tuple(days)
        self._today = today
        self._decayed: dict[float, Mapping[str, Mapping[str, tuple[float, float]]]] = {}

    def of(self, prompt_class: str, *, half_life_days: float) -> Mapping[str, tuple[float, float]]:
        """By model, the good and the bad that was said of its answers, each rating halved every `half_life_days`."""
        found = self._decayed.get(half_life_days)
        if found is None:
            # As many as there are policy documents that learn.
            found = self._decayed[half_life_days] = self._decay(half_life_days)
        return found.get(prompt_class, {})

    def _decay(self, half_life_days: float) -> Mapping[str, Mapping[str, tuple[float, float]]]:
        sums: dict[str, dict[str, tuple[float, float]]] = {}
        for day in self._days:
            weight = 0.5 ** (max(0, self._today - day.day) / half_life_days)
            models = sums.setdefault(day.prompt_class, {})
            good, bad = models.get(day.model, (0.0, 0.0))
            score = day.score_millionths / ONE
            models[day.model] = good + weight * score, bad + weight * (day.ratings - score)
        return sums


NO_RATINGS = Ratings((), today=0)
"""No feedback at all."""
