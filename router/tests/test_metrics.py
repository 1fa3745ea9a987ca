"""The router's own histogram, against prometheus_client's."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from enginehouse.kit.errors import Reason
from enginehouse.router.metrics import LoopHistogram, RouterMetrics

_BUCKETS = (1e-5, 0.5, 1.0, 10.0)


def test_the_histogram_reads_like_prometheus_clients() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = LoopHistogram("seconds", "Some seconds.", buckets=_BUCKETS)
    ours.register(mine)
    others = Histogram("seconds", "Some seconds.", buckets=_BUCKETS, registry=theirs)
    # Between the bounds, at them, below and above all of them.
    for value in (0.0, 1e-5, 0.25, 0.5, 0.75, 1.0, 1.0, 9.0, 1e9):
        mine.observe(value)
        others.observe(value)
    assert mine.count == 9
    assert _lines(ours) == _lines(theirs)


def test_checks_are_counted_by_outcome() -> None:
    registry = CollectorRegistry()
    metrics = RouterMetrics(registry=registry)
    metrics.admitted(0.001)
    metrics.admitted(0.002)
    metrics.refused(Reason.KEY_INVALID)
    lines = _lines(registry)
    assert 'enginehouse_router_decisions_total{outcome="ADMITTED"} 2.0' in lines
    assert 'enginehouse_router_decisions_total{outcome="KEY_INVALID"} 1.0' in lines
    assert "enginehouse_router_decision_seconds_count 2.0" in lines


def _lines(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
