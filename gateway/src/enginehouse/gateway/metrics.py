"""Metrics of the control plane."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from enginehouse.gateway.registry import Lease, LeaseEnd


class AdsMetrics:
    """`enginehouse_gateway_proxies`, `..._pushes_total` and `..._refusals_total`, the latter two by resource type."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._proxies = Gauge("enginehouse_gateway_proxies", "Proxies connected.", registry=registry)
        self._pushes = Counter(
            "enginehouse_gateway_pushes", "Configurations sent to proxies.", ("type",), registry=registry
        )
        self._refusals = Counter(
            "enginehouse_gateway_refusals", "Configurations that a proxy refused.", ("type",), registry=registry
        )

    def connected(self, change: int) -> None:
        """Count a proxy that connected (1) or disconnected (-1)."""
        self._proxies.inc(change)

    def pushed(self, type_url: str) -> None:
        """Count a configuration that was sent."""
        self._pushes.labels(_short(type_url)).inc()

    def refused(self, type_url: str) -> None:
        """Count a configuration that a proxy rejected."""
        self._refusals.labels(_short(type_url)).inc()


class RegistryMetrics:
    """`enginehouse_gateway_engines` by cluster, `..._leases_ended_total` by reason, `..._snapshot_seconds`, and
    `..._state_failures_total`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._engines = Gauge(
            "enginehouse_gateway_engines", "Engines that hold a lease.", ("cluster",), registry=registry
        )
        self._ended = Counter("enginehouse_gateway_leases_ended", "Leases that ended.", ("reason",), registry=registry)
        self._seconds = Histogram(
            "enginehouse_gateway_snapshot_seconds",
            "Time to make a snapshot.",
            registry=registry,
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
        )
        self._failures = Counter(
            "enginehouse_gateway_state_failures", "Times that the state file could not be written.", registry=registry
        )
        self._clusters: set[str] = set()

    def members(self, leases: Iterable[Lease]) -> None:
        """Set the number of engines of every cluster ever seen."""
        tally = Tally(lease.engine.cluster for lease in leases)
        self._clusters |= tally.keys()
        for cluster in self._clusters:
            self._engines.labels(cluster).set(tally[cluster])

    def ended(self, lease: Lease, end: LeaseEnd) -> None:
        """Count a lease that ended."""
        self._ended.labels(end.value).inc()

    def snapshot_made(self, seconds: float) -> None:
        """Record the time that a snapshot took."""
        self._seconds.observe(seconds)

    def state_failed(self) -> None:
        """Count a failure to write the state file."""
        self._failures.inc()


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
