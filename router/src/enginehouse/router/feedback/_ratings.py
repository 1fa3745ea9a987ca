"""Ratings of models, by class of prompt, and how much of each still counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ONE = 1_000_000
"""A score of 1, in the whole numbers that scores are kept in, so that a rating can be taken back exactly."""

RatingsByClass = Mapping[str, Mapping[str, tuple[float, float]]]
"""By class of prompt and model, the good and the bad that was said of its answers."""


class Ratings:
    """Every model's ratings as they were read. Never changes, so that decisions upon it are reproducible.

    Args:
        by_half_life: what was said, each rating halved every so many days.
    """

    def __init__(self, by_half_life: Mapping[float, RatingsByClass]) -> None:
        self._by_half_life = dict(by_half_life)

    def of(self, prompt_class: str, *, half_life_days: float) -> Mapping[str, tuple[float, float]]:
        """By model, the good and the bad that was said of its answers to prompts of a class."""
        return self._by_half_life.get(half_life_days, {}).get(prompt_class, {})

    def covers(self, half_lives: Iterable[float]) -> bool:
        """Return whether ratings were read for each of these half-lives."""
        return all(half_life in self._by_half_life for half_life in half_lives)


NO_RATINGS = Ratings({})
"""No feedback at all."""
