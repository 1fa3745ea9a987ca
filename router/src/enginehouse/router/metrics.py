"""The router's metrics, as Prometheus reads them. Times in seconds, money in nano-dollars."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from enginehouse.kit.errors import Reason

_DECISION_S = (
    1e-5, 2e-5, 3e-5, 5e-5, 7.5e-5, 1e-4, 1.5e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 5e-2, 0.25, 1,
)  # fmt: skip
_WAIT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)


class LoopHistogram(Collector):
    """A histogram for one thread: prometheus_client's takes a lock for each of three numbers, and four times as long.

    Args:
        name: the metric's name.
        text: its help.
        buckets: the upper bounds of its buckets, in ascending order, without infinity.
    """

    def __init__(self, name: str, text: str, *, buckets: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = tuple(map(float, buckets))
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    @property
    def count(self) -> int:
        """The number of values so far."""
        return sum(self._counts)

    def collect(self) -> Iterator[Metric]:
        """The buckets as they are now."""
        below, found = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            found.append((bound, float(below)))
        yield HistogramMetricFamily(self._name, self._text, buckets=found, sum_value=self._sum)


class RouterMetrics:
    """Decisions, by what came of them."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._seconds = LoopHistogram(
            "enginehouse_router_decision_seconds",
            "From a check's body to the signed grant, draws included.",
            buckets=_DECISION_S,
        )
        registry.register(self._seconds)
        self._refusals: dict[str, int] = {}
        registry.register(_Decisions(admitted=lambda: self._seconds.count, refusals=self._refusals))
        self._reports = Counter(
            "enginehouse_router_reports", "Usage reports answered, by status.", ["status"], registry=registry
        )

        self._alerts = Counter(
            "enginehouse_router_budget_alerts",
            "Alerts of budgets that this replica was the first to deliver.",
            ["scope", "percent", "cause"],
            registry=registry,
        )

    def alerted(self, scope: str, percent: int, cause: str) -> None:
        """A budget's alert is on its way."""
        self._alerts.labels(scope, str(percent), cause).inc()

    def admitted(self, seconds: float) -> None:
        """A request was let through."""
        self._seconds.observe(seconds)

    def refused(self, reason: Reason) -> None:
        """A request was refused."""
        self._refusals[reason.value] = self._refusals.get(reason.value, 0) + 1

    def reported(self, status: str, count: int) -> None:
        """So many usage reports were answered."""
        self._reports.labels(status).inc(count)


class BudgetWaitMetrics:
    """Requests that have waited for a budget of which enough was in flight."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "enginehouse_router_budget_wait_seconds",
            "How long requests waited for a budget that running requests held, by whether it was served then.",
            ["served"],
            buckets=_WAIT_S,
            registry=registry,
        )

    def ended(self, seconds: float, served: bool) -> None:
        """A request waits no longer."""
        self._seconds.labels(str(served).lower()).observe(seconds)


class PromptCountMetrics:
    """Prompts that engines were asked to count, for requests that a budget could not pay at their bound."""

    def __init__(self, *, registry: CollectorRegistry) -> None:
        self._counts = Counter(
            "enginehouse_router_prompt_counts",
            "Prompts that engines were asked to count where a budget lacked their bound, by whether one did in time.",
            ["counted"],
            registry=registry,
        )

    def asked(self, counted: bool) -> None:
        """An engine counted a prompt, or did not."""
        self._counts.labels(str(counted).lower()).inc()


class _Decisions(Collector):
    def __init__(self, *, admitted: Callable[[], int], refusals: Mapping[str, int]) -> None:
        self._admitted = admitted
        self._refusals = refusals

    def collect(self) -> Iterator[Metric]:
        decisions = CounterMetricFamily(
            "enginehouse_router_decisions", "Checks answered, by outcome.", labels=["outcome"]
        )
        decisions.add_metric(["ADMITTED"], self._admitted())
        for reason, count in self._refusals.items():
            decisions.add_metric([reason], count)
        yield decisions


class Readings(Collector):
    """Values that are read when asked for: pairs of name and help, with the function that reads each."""

    def __init__(
        self,
        *,
        gauges: dict[tuple[str, str], Callable[[], float]],
        counters: dict[tuple[str, str], Callable[[], float]],
    ) -> None:
        self._gauges = gauges
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        """Every value as it is now."""
        for (name, text), read in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=read())
        for (name, text), read in self._counters.items():
            yield CounterMetricFamily(name, text, value=read())
