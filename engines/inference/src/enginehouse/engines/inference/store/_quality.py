"""Guesses of a model's quality from its size, for catalog entries that do not say it."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence

# Parameters and quality, as the default catalog and docs/models.md rate models of these sizes.
_WRITERS = ((3.4e6, 0.1), (135e6, 0.3), (8e9, 0.7), (70e9, 0.85), (1e12, 0.95))
_EMBEDDERS = ((22e6, 0.5), (335e6, 0.6), (8e9, 0.8))
# A guess does not beat a model of the same size that somebody has rated.
_DOUBT = 0.05
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(\d{1,4}(?:\.\d{1,3})?)([mb])(?![A-Za-z0-9])", re.IGNORECASE)


def guess_quality(parameters: int, *, embeds: bool = False) -> float:
    """Return the quality that a model of so many parameters may have."""
    points = _EMBEDDERS if embeds else _WRITERS
    size = math.log10(max(1, parameters))
    low, high = points[0], points[-1]
    for before, after in itertools.pairwise(points):
        if math.log10(before[0]) <= size:
            low, high = before, after
    share = (size - math.log10(low[0])) / (math.log10(high[0]) - math.log10(low[0]))
    rated = low[1] + (high[1] - low[1]) * min(1.0, max(0.0, share))
    return round(max(0.05, rated - _DOUBT), 2)


def size_in_names(names: Sequence[str]) -> int:
    """Return the number of parameters that a name tells, such as `qwen3-8b`; 0 if none does."""
    for name in names:
        found = _SIZE.findall(name)
        if found:
            number, unit = found[-1]
            return round(float(number) * (10**6 if unit.lower() == "m" else 10**9))
    return 0


def shown_size(parameters: int) -> str:
    """Return a number of parameters as people say it: 135M, 8B."""
    for size, letter in ((10**9, "B"), (10**6, "M")):
        if parameters >= size:
            return f"{float(f'{parameters / size:.3g}'):g}{letter}"
    return str(parameters)
