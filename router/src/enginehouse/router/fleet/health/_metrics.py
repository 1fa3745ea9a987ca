"""Breakers as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from enginehouse.router.fleet.health._breaker import BreakerState
from enginehouse.router.fleet.health._health import Health


class HealthMetrics(Collector):
    """Breakers that are not closed, and how often they have opened."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """The values as they are now."""
        states = GaugeMetricFamily(
            "enginehouse_router_breaker_open",
            "1 where a model's breaker is open, 0.5 where it is half-open, by engine or over all; absent where closed.",
            labels=["model", "engine"],
        )
        for model, engine_id, state in self._health.troubled():
            states.add_metric([model, engine_id or "all"], 1.0 if state is BreakerState.OPEN else 0.5)
        yield states
        opened = CounterMetricFamily(
            "enginehouse_router_breakers_opened", "Times that a breaker of a model has opened.", labels=["model"]
        )
        for model, times in sorted(self._health.opened.items()):
            opened.add_metric([model], times)
        yield opened
