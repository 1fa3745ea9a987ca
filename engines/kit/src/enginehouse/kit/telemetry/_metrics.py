"""Prometheus metrics of every server, and the small HTTP server for them, `/healthz` and `/readyz`.

Times are histograms in seconds. The registry is passed in; importing registers nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit._documents import ConfigError
from enginehouse.kit.addresses import Address, parse_listen
from enginehouse.kit.pricing import Unit, unit_name

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class RpcMetrics:
    """Calls served: `enginehouse_rpc_seconds` by method and code, and `enginehouse_rpc_active`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "enginehouse_rpc_seconds",
            "From a call's arrival to its end.",
            ("method", "code"),
            registry=registry,
            buckets=_SECONDS,
        )
        self._active = Gauge("enginehouse_rpc_active", "Calls being served.", registry=registry)
        self._children: dict[tuple[str, grpc.StatusCode], Histogram] = {}

    def observe(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that ended."""
        child = self._children.get((method, code))
        if child is None:
            child = self._children[method, code] = self._seconds.labels(method, code.name)
        child.observe(seconds)

    def watch_active(self, active: Callable[[], int]) -> None:
        """Set the function that returns the number of calls being served when metrics are read."""
        self._active.set_function(active)


class CallMetrics:
    """Granted calls: `enginehouse_call_units_total` and `enginehouse_call_cost_nanos_total` by model, outcomes, and the
    time to the first output."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._units = Counter("enginehouse_call_units", "Units counted.", ("model", "unit"), registry=registry)
        self._cost = Counter("enginehouse_call_cost_nanos", "Nano-dollars charged.", ("model",), registry=registry)
        self._outcomes = Counter(
            "enginehouse_calls", "Granted calls that ended.", ("model", "outcome"), registry=registry
        )
        self._first = Histogram(
            "enginehouse_first_output_seconds",
            "From a grant's acceptance to the first output.",
            ("model",),
            registry=registry,
            buckets=_SECONDS,
        )

        self._models: dict[tuple[str, int], tuple[Counter, Counter, Histogram, dict[Unit, Counter]]] = {}

    def ended(
        self,
        model: str,
        outcome: usage_pb2.Outcome.ValueType,
        amounts: Mapping[Unit, int],
        cost_nanos: int,
        first_output_s: float,
    ) -> None:
        """Count a granted call that ended."""
        children = self._models.get((model, outcome))
        if children is None:
            name = usage_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_").lower()
            children = self._models[model, outcome] = (
                self._outcomes.labels(model, name),
                self._cost.labels(model),
                self._first.labels(model),
                {},
            )
        outcomes, cost, first, units = children
        outcomes.inc()
        for unit, amount in amounts.items():
            counter = units.get(unit)
            if counter is None:
                # As many as the catalog prices and the contracts declare.
                counter = units[unit] = self._units.labels(model, unit_name(unit))
            counter.inc(amount)
        if cost_nanos:
            cost.inc(cost_nanos)
        if first_output_s:
            first.observe(first_output_s)


class ReporterMetrics:
    """Usage records: `enginehouse_usage_records_total` by the router's answer, and `enginehouse_usage_pending`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Counter(
            "enginehouse_usage_records", "Usage records a router has answered.", ("status",), registry=registry
        )
        self._pending = Gauge("enginehouse_usage_pending", "Usage records no router has settled.", registry=registry)

    def acknowledged(self, status: str, pending: int) -> None:
        """Count an answer of the router."""
        self._records.labels(status.removeprefix("STATUS_").lower()).inc()
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
