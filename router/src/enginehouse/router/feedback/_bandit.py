"""Choice of a model by feedback: Thompson sampling over Beta beliefs (Thompson 1933; Chapelle and Li 2011), with a cap
on the share of requests that explore.

Pure: randomness is seeded with the request's id, so that a request gets the same choice on every replica.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Mapping, Sequence

# Both parameters of a Beta distribution must be positive; at 0 a belief could not change any more.
_MIN_WEIGHT = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class BanditArm:
    """A model that may be chosen: its catalog quality, from 0 to 1, and the most that the request may cost on it."""

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
    """Return the index of the arm to choose.

    A share of requests explores: each draws a value from every arm's belief and takes the arm with the highest. The
    others take the arm with the best mean; of equals the cheaper.

    Args:
        arms: at least one, in any order.
        ratings: the sums of good and of bad ratings of each model's answers to prompts of this class.
        request_id: the seed; a request with an empty id never explores.
        explore_share: the share of requests that explore, from 0 to 1.
        prior_weight: the number of ratings that the catalog's quality counts for.
    """
    if len(arms) == 1:
        return 0
    beliefs = []
    for arm in arms:
        good, bad = ratings.get(arm.model, (0.0, 0.0))
        beliefs.append(
            (
                max(good + prior_weight * arm.quality, _MIN_WEIGHT),
                max(bad + prior_weight * (1 - arm.quality), _MIN_WEIGHT),
            )
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
