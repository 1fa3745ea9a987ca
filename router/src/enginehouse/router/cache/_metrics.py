"""The cache's counters, for Prometheus and for its statistics."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter


class CacheMetrics:
    """Lookups by result, and answers kept and refused."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._lookups = Counter(
            "enginehouse_router_cache_lookups", "Cache lookups, by result.", ["result"], registry=registry
        )
        self._stored = Counter("enginehouse_router_cache_stored", "Answers kept.", registry=registry)
        self._refused = Counter(
            "enginehouse_router_cache_refused", "Answers handed over and not kept.", registry=registry
        )
        self._replays = Counter(
            "enginehouse_router_cache_replays", "Answers given by the replay endpoint, by outcome.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._tally: Tally[str] = Tally()
        self.stored_count = 0
        """Answers kept."""
        self.refused_count = 0
        """Answers handed over and not kept."""

    @property
    def lookups(self) -> Mapping[str, int]:
        """Lookups by result."""
        return self._tally

    def count_lookup(self, result: str) -> None:
        """Count a lookup by its result."""
        self._tally[result] += 1
        self._lookups.labels(result).inc()

    def count_stored(self) -> None:
        """Count an answer that was kept."""
        self.stored_count += 1
        self._stored.inc()

    def count_refused(self) -> None:
        """Count an answer that was not kept."""
        self.refused_count += 1
        self._refused.inc()

    def count_replay(self, outcome: str) -> None:
        """Count an answer of the replay endpoint by its outcome: given, lost or cancelled."""
        self._replays.labels(outcome).inc()
