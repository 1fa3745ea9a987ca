"""A robust line through measurements."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median slope of all pairs of points (Theil and Sen): a few outliers, or one step, do not move it.

    Raises ValueError for fewer than two different abscissas.
    """
    slopes = [
        (later - earlier) / (end - begin)
        for (begin, earlier), (end, later) in itertools.combinations(sorted(points), 2)
        if end > begin
    ]
    if not slopes:
        raise ValueError(f"no line leads through {len(points)} points of one moment: measure for longer")
    return statistics.median(slopes)
