from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from enginehouse.api.common.v1.usage_pb2 import UNIT_OUTPUT_TOKENS
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.addresses import Address
from enginehouse.kit.config import ConfigError
from enginehouse.kit.current_call import CurrentCall, current_call
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.telemetry import CallMetrics, MetricsServer, Tracing, configure_logging, configure_tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(process="engine", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_and_names_its_call(lines: io.StringIO) -> None:
    call = CurrentCall("/a.b/C", (("traceparent", TRACEPARENT),))
    call.request_id = "r-1"
    call.tenant = "t-1"
    token = current_call.set(call)
    try:
        logging.getLogger("x").warning("cost %d", 5, extra={"cost_nanos": 5})
    finally:
        current_call.reset(token)
    line = json.loads(lines.getvalue())
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "warning",
        "process": "engine",
        "logger": "x",
        "msg": "cost 5",
        "method": "/a.b/C",
        "request_id": "r-1",
        "trace_id": TRACE,
        "tenant": "t-1",
        "cost_nanos": 5,
    }


def test_exceptions_and_odd_values_are_lines_too(lines: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("x").exception("failed \ud800", extra={"value": object(), "big": 2**80})
    (line,) = lines.getvalue().splitlines()
    assert "ValueError: two\nlines" in json.loads(line)["exception"]


async def get(address: Address, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_metrics_and_health_over_http() -> None:
    registry = CollectorRegistry()
    metrics = CallMetrics(registry)
    metrics.ended("m", usage_pb2.OUTCOME_CAPPED, {UNIT_OUTPUT_TOKENS: 7}, 14, 0.03)
    ready = False
    server = MetricsServer(listen="127.0.0.1:0", registry=registry, ready=lambda: ready)
    address = await server.start()
    shown = await get(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"200 OK" in shown
    assert b'enginehouse_call_units_total{model="m",unit="output_tokens"} 7.0' in shown
    assert b'enginehouse_calls_total{model="m",outcome="capped"} 1.0' in shown
    assert b'enginehouse_first_output_seconds_count{model="m"} 1.0' in shown
    assert b"200 OK" in await get(address, b"GET /healthz HTTP/1.1\r\n\r\n")
    assert b"503" in await get(address, b"GET /readyz HTTP/1.1\r\n\r\n")
    ready = True
    assert b"200 OK" in await get(address, b"GET /readyz?x=1 HTTP/1.0\r\n\r\n")
    assert b"404" in await get(address, b"GET /nothing HTTP/1.1\r\n\r\n")
    assert b"405" in await get(address, b"POST /metrics HTTP/1.1\r\n\r\n")
    assert await get(address, b"x" * 100_000) == b""
    with pytest.raises(ConfigError, match=f"{address} cannot be listened on"):
        await MetricsServer(listen=str(address), registry=registry, ready=bool).start()
    await server.close()


def test_a_span_is_a_child_of_the_callers() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(process="engine", exporter=exporter)
    call = CurrentCall("/a.b.Service/Method", (("traceparent", TRACEPARENT),))
    call.request_id = "r-1"
    with tracing.serving(call):
        ((_, value),) = [pair for pair in tracing.headers() if pair[0] == "traceparent"]
        assert TRACE in value
        assert value != TRACEPARENT
    tracing.close()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert format(span.context.trace_id, "032x") == TRACE
    assert span.parent is not None
    assert format(span.parent.span_id, "016x") == "b7ad6b7169203331"
    assert span.attributes is not None
    assert span.attributes["enginehouse.request_id"] == "r-1"
    assert span.attributes["rpc.service"] == "a.b.Service"


def test_a_span_tells_a_failure_by_its_reason_alone() -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing(process="engine", exporter=exporter)
    for error in (ServiceError(Reason.ENGINE_BUSY, "hunter2"), KeyError("hunter2")):
        with contextlib.suppress(ServiceError, KeyError), tracing.serving(CurrentCall("/a.b.Service/Method", ())):
            raise error
    tracing.close()
    spans = exporter.get_finished_spans()
    assert [span.status.description for span in spans] == ["ENGINE_BUSY", "KeyError"]
    assert "hunter2" not in "".join(span.to_json() for span in spans)


def test_tracing_is_off_without_an_endpoint() -> None:
    assert configure_tracing(process="engine", otlp_endpoint=None) is None
