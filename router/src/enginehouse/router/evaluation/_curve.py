"""Performance gap recovered against the share of strong calls: the measure of RouteLLM (Ong and others, 2024).

A router's score orders the prompts; a threshold on it sends those above to the strong model. Over all thresholds:

    PGR(share) = (mean score of the mix - weak mean) / (strong mean - weak mean)
    APGR       = the area under PGR over shares 0 to 1 (0.5 for a router that guesses)
    CPT(x)     = the least share of strong calls that recovers x % of the gap

The paper sweeps ten quantiles of the score; here every score is a threshold, so nothing depends on their number.
Prompts with equal scores go together, and between two thresholds the curve is a straight line: a random choice among
them. The oracle knows both scores and takes the largest gains first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Ranking:
    """The order that a router's scores put prompts in, ready to be measured for any weights of the prompts.

    Args:
        scores: of each prompt; the higher, the sooner the strong model is asked. Shape (prompts,).
        gains: of each prompt, the strong model's score less the weak one's.
    """

    def __init__(self, scores: Floats, gains: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ordered = scores[self._order]
        # Where a run of equal scores ends.
        self._ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        self._gains = gains[self._order]

    def curve(self, weights: Floats | None = None) -> tuple[Floats, Floats]:
        """Shares of strong calls from 0 to 1 and the gap recovered at each, for prompts that count by weights.

        The gap is that of the weighed prompts; where it isn't positive, what is recovered is NaN.
        """
        if weights is None:
            share = np.arange(1, len(self._gains) + 1, dtype=np.float64)[self._ends]
            gained = np.cumsum(self._gains)[self._ends]
        else:
            ordered = weights[self._order]
            share = np.cumsum(ordered)[self._ends]
            gained = np.cumsum(ordered * self._gains)[self._ends]
        gap = gained[-1]
        recovered = gained / gap if gap > 0 else np.full_like(gained, np.nan)
        return np.concatenate([[0.0], share / share[-1]]), np.concatenate([[0.0], recovered])


def apgr(shares: Floats, recovered: Floats) -> float:
    """The area under a curve."""
    return float(np.trapezoid(recovered, shares))


def cpt(shares: Floats, recovered: Floats, part: float) -> float:
    """The least share of strong calls, 0 to 1, that recovers a part (0 to 1) of the gap."""
    if np.isnan(recovered[-1]):
        return float("nan")
    reached = int(np.argmax(recovered >= part - 1e-12))
    if reached == 0:
        return 0.0
    low, high = recovered[reached - 1], recovered[reached]
    within = min(1.0, (part - low) / (high - low))
    return float(shares[reached - 1] + within * (shares[reached] - shares[reached - 1]))
