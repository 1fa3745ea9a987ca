"""Ratings of models by class of prompt, weighted by their age."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SCORE_SCALE = 1_000_000
"""A score of 1, in millionths. Scores are whole numbers, so that a rating can be subtracted exactly."""

RatingsByClass = Mapping[str, Mapping[str, tuple[float, float]]]
"""By class of prompt and model, the sums of good and of bad ratings of its answers."""


class Ratings:
    """Every model's ratings at one reading. It never changes, so that decisions on it are reproducible.

    Args:
        by_half_life: the ratings by half-life in days; each counts half after that time.
    """

    def __init__(self, by_half_life: Mapping[float, RatingsByClass]) -> None:
        self._by_half_life = dict(by_half_life)

    def of(self, prompt_class: str, *, half_life_days: float) -> Mapping[str, tuple[float, float]]:
        """Return by model the sums of good and of bad ratings of its answers to prompts of a class."""
        return self._by_half_life.get(half_life_days, {}).get(prompt_class, {})

    def covers(self, half_lives: Iterable[float]) -> bool:
        """Return whether ratings were read for each of these half-lives."""
        return all(half_life in self._by_half_life for half_life in half_lives)


NO_RATINGS = Ratings({})
"""No feedback at all."""
