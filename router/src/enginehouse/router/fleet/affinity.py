"""Prefix affinity: requests that begin alike go to the same engine, whose prompt cache then knows their beginning.

Rendezvous hashing, so that an engine's coming or going moves only its own share, with the loads bounded as by
Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016): an engine that is busier than
(1 + slack) times its fair share is passed over for the next in the request's own order. Beyond the paper, an engine
that has half of its slots free is not busy, whatever the others have.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Protocol, TypeVar

from enginehouse.router.request import InferenceRequest

_MASK = (1 << 64) - 1
# The share of an engine's slots up to which one more request costs the others little.
_NOT_BUSY = 0.5
# Odd constants of SplitMix64 (Steele, Lea and Flood 2014), which spread any bits over all.
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Place(Protocol):
    """An engine, as far as affinity looks at it."""

    @property
    def seed(self) -> int:
        """64 bits that stand for it, the same on every router."""

    @property
    def capacity(self) -> int:
        """The number of requests that it runs at once."""

    @property
    def requests(self) -> int:
        """The number of requests that it is thought to have now."""

    @property
    def full(self) -> bool:
        """True if its KV cache has no room to speak of."""


PlaceT = TypeVar("PlaceT", bound=Place)


def affinity_key(tenant_id: str, ask: InferenceRequest, *, characters: int) -> int:
    """32 bits of the tenant and the beginning of the request's first text, never 0; 0 for none.

    A conversation begins with its system prompt, which many share, or with its own first message. The tenant is part
    of it, so that nobody can find out where another tenant's prompts go.
    """
    if not characters or not ask.texts or not ask.texts[0]:
        return 0
    return zlib.crc32(ask.texts[0][:characters].encode("utf-8", "surrogatepass"), zlib.crc32(tenant_id.encode())) or 1


def seed_of(engine_id: str) -> int:
    """The bits that stand for an engine."""
    return _mixed(zlib.crc32(engine_id.encode()) * 0x9E3779B97F4A7C15 & _MASK)


def preferred(places: Sequence[PlaceT], key: int, *, slack: float) -> PlaceT:
    """The place that the key belongs to, among those with room.

    Args:
        places: where the request may go; at least one.
        key: from `affinity_key`.
        slack: how far over its fair share of all requests a busy place may go, as a share of that share.
    """
    total, capacity = 1, 0
    for place in places:
        total += place.requests
        capacity += place.capacity
    bound = max(_NOT_BUSY, total * (1 + slack) / capacity)
    spread = key * _FIRST & _MASK
    best, best_score = places[0], -1
    for place in places:
        score = (place.seed ^ spread) * _SECOND & _MASK
        # With one more it may have its share rounded up. Some place has room for it; only that may be full otherwise.
        if score > best_score and place.requests < bound * place.capacity and not place.full:
            best, best_score = place, score
    return best


def _mixed(value: int) -> int:
    value = (value ^ value >> 30) * _FIRST & _MASK
    value = (value ^ value >> 27) * _SECOND & _MASK
    return value ^ value >> 31
