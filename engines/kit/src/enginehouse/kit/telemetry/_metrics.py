"""Prometheus metrics of every server, and the small HTTP server for them, `/healthz` and `/readyz`.

Times are histograms in seconds. The registry is passed in; importing registers nothing.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc
import prometheus_client
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.utils import floatToGoString

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit._documents import ConfigError
from enginehouse.kit.addresses import Address, parse_listen
from enginehouse.kit.pricing import Unit, unit_name

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class RpcMetrics:
    """Calls served: `enginehouse_rpc_seconds` by method and code, and `enginehouse_rpc_active`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._active = Gauge("enginehouse_rpc_active", "Calls being served.", registry=registry)
        self._seconds: dict[tuple[str, grpc.StatusCode], Durations] = {}
        registry.register(self)

    def observe(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended."""
        durations = self._seconds.get((method, code))
        if durations is None:
            durations = self._seconds[method, code] = Durations()
        durations.observe(seconds)

    def watch_active(self, active: Callable[[], int]) -> None:
        """Set the function that returns the number of calls being served when metrics are read."""
        self._active.set_function(active)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as a registry asks for them."""
        family = HistogramMetricFamily(
            "enginehouse_rpc_seconds", "From a call's arrival to its end.", labels=("method", "code")
        )
        for (method, code), durations in list(self._seconds.items()):
            durations.add_to(family, (method, code.name))
        yield family


class CallMetrics:
    """Granted calls: `enginehouse_call_units_total` and `enginehouse_call_cost_nanos_total` by model, outcomes, and the
    time to the first output."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._outcomes: Counter[tuple[str, usage_pb2.Outcome.ValueType]] = Counter()
        self._units: Counter[tuple[str, Unit]] = Counter()
        self._cost: Counter[str] = Counter()
        self._first: dict[str, Durations] = {}
        registry.register(self)

    def ended(
        self,
        model: str,
        outcome: usage_pb2.Outcome.ValueType,
        amounts: Mapping[Unit, int],
        cost_nanos: int,
        first_output_s: float,
    ) -> None:
        """Count a granted call that ended."""
        self._outcomes[model, outcome] += 1
        for unit, amount in amounts.items():
            # As many as the catalog prices and the contracts declare.
            self._units[model, unit] += amount
        self._cost[model] += cost_nanos
        if first_output_s:
            durations = self._first.get(model)
            if durations is None:
                durations = self._first[model] = Durations()
            durations.observe(first_output_s)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as a registry asks for them."""
        units = CounterMetricFamily("enginehouse_call_units", "Units counted.", labels=("model", "unit"))
        for (model, unit), amount in list(self._units.items()):
            units.add_metric((model, unit_name(unit)), amount)
        yield units
        cost = CounterMetricFamily("enginehouse_call_cost_nanos", "Nano-dollars charged.", labels=("model",))
        for model, nanos in list(self._cost.items()):
            cost.add_metric((model,), nanos)
        yield cost
        ended = CounterMetricFamily("enginehouse_calls", "Granted calls that ended.", labels=("model", "outcome"))
        for (model, outcome), calls in list(self._outcomes.items()):
            name = usage_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_").lower()
            ended.add_metric((model, name), calls)
        yield ended
        first = HistogramMetricFamily(
            "enginehouse_first_output_seconds", "From a grant's acceptance to the first output.", labels=("model",)
        )
        for model, durations in list(self._first.items()):
            durations.add_to(first, (model,))
        yield first


class Durations:
    """A histogram of seconds, written by the loop's thread alone: without a lock, at a fifth of the library's cost."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect.bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the buckets and the sum to a family."""
        bounds = [*map(floatToGoString, _SECONDS), "+Inf"]
        family.add_metric(labels, list(zip(bounds, itertools.accumulate(self._counts), strict=True)), self._sum)


class ReporterMetrics:
    """Usage records: `enginehouse_usage_records_total` by the router's answer, and `enginehouse_usage_pending`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = prometheus_client.Counter(
            "enginehouse_usage_records", "Usage records a router has answered.", ("status",), registry=registry
        )
        self._pending = Gauge("enginehouse_usage_pending", "Usage records no router has settled.", registry=registry)

    def acknowledged(self, status: str, records: int, pending: int) -> None:
        """Count what the router has answered of so many records."""
        self._records.labels(status.removeprefix("STATUS_").lower()).inc(records)
        self._pending.set(pending)


class MetricsServer:
    """The HTTP server of `/metrics`, `/healthz` (the process answers) and `/readyz` (it can serve).

    Args:
        listen: `host:port`; port 0 takes a free one.
        registry: the metrics.
        ready: returns whether `/readyz` answers 200 rather than 503.
    """

    def __init__(self, *, listen: str, registry: CollectorRegistry, ready: Callable[[], bool]) -> None:
        self._listen = parse_listen(listen)
        self._registry = registry
        self._ready = ready
        self._server: asyncio.Server | None = None

    async def start(self) -> Address:
        """Listen, and return the address with the port taken.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, self._listen.host, self._listen.port, limit=16 * 1024
            )
        except OSError as error:
            raise ConfigError(
                f"metrics address {self._listen} cannot be listened on: {error.strerror}; stop what uses it or "
                "configure another"
            ) from error
        return Address(self._listen.host, self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, request_line: bytes) -> bytes:
        method, _, rest = request_line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response(b"405 Method Not Allowed", b"text/plain", b"only GET\n")
        if path == b"/metrics":
            return _response(b"200 OK", CONTENT_TYPE_LATEST.encode(), generate_latest(self._registry))
        if path == b"/healthz":
            return _response(b"200 OK", b"text/plain", b"ok\n")
        if path == b"/readyz":
            if self._ready():
                return _response(b"200 OK", b"text/plain", b"ready\n")
            return _response(b"503 Service Unavailable", b"text/plain", b"not ready\n")
        return _response(b"404 Not Found", b"text/plain", b"known: /metrics /healthz /readyz\n")


def _response(status: bytes, content_type: bytes, body: bytes) -> bytes:
    return (
        b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        % (status, content_type, len(body))
        + body
    )
