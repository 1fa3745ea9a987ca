"""Which of several models to try by what feedback says of them: Thompson sampling over Beta beliefs (Thompson 1933;
Chapelle and Li 2011), with a cap on the share of requests that explore.

Pure: what is random comes from the request's id, so the same request gets the same answer on every replica.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Mapping, Sequence

# A belief needs some of both, or it could never change its mind.
_LEAST = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class BanditArm:
    """A model that may be tried: its catalog quality, from 0 to 1, and what the request could cost on it."""

    model: str
    quality: float
    bound_nanos: int


def pick_arm(
    arms: Sequence[BanditArm],
    ratings: Mapping[str, tuple[float, float]],
    *,
    request_id: str,
    explore_share: float,
    prior_weight: float,
) -> int:
    """The place of the arm to take.

    A share of requests explores: it takes the arm whose belief, drawn at random, is best. The others take the arm with
    the best mean; of equals the cheaper.

    Args:
        arms: at least one, in any order.
        ratings: the good and the bad said of each model's answers to prompts of this class.
        request_id: decides whether the request explores, and what is drawn; empty never explores.
        explore_share: how many of all requests explore, from 0 to 1.
        prior_weight: how many ratings the catalog's quality counts for.
    """
    if len(arms) == 1:
        return 0
    beliefs = []
    for arm in arms:
        good, bad = ratings.get(arm.model, (0.0, 0.0))
        beliefs.append(
            (max(good + prior_weight * arm.quality, _LEAST), max(bad + prior_weight * (1 - arm.quality), _LEAST))
        )
    if request_id and explore_share > 0:
        seed = hashlib.blake2b(request_id.encode(), digest_size=16, person=b"bandit").digest()
        if int.from_bytes(seed[:8], "big") < explore_share * 2**64:
            draw = random.Random(int.from_bytes(seed[8:], "big")).betavariate
            values = [draw(good, bad) for good, bad in beliefs]
            return max(range(len(arms)), key=values.__getitem__)
    return max(
        range(len(arms)),
        key=lambda place: (beliefs[place][0] / sum(beliefs[place]), -arms[place].bound_nanos, -place),
    )
