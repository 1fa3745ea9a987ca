"""OpenTelemetry traces with W3C context from the caller's metadata; off unless an endpoint is configured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from enginehouse.kit.current_call import CurrentCall
from enginehouse.kit.errors import ServiceError


class Tracing:
    """The source of spans, which are exported in batches.

    Args:
        process: the service's name in traces, such as "inference".
        exporter: exports them.
    """

    def __init__(self, *, process: str, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": f"enginehouse-{process}"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._propagator = TraceContextTextMapPropagator()
        self.tracer: trace.Tracer = self._provider.get_tracer("enginehouse.kit")

    @contextlib.contextmanager
    def serving(self, call: CurrentCall) -> Iterator[trace.Span]:
        """Open a server span around a call, a child of the caller's if it sent a `traceparent`."""
        carrier = {key: value for key, value in call.metadata or () if isinstance(value, str)}
        parent = self._propagator.extract(carrier)
        service, _, method = call.method.lstrip("/").partition("/")
        span = self.tracer.start_span(
            call.method.lstrip("/"),
            context=parent,
            kind=trace.SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        token = otel_context.attach(trace.set_span_in_context(span, parent))
        try:
            yield span
        except ServiceError as error:
            # Only the reason: messages and tracebacks may quote a user's text.
            span.set_status(trace.StatusCode.ERROR, error.reason.value)
            raise
        except Exception as error:
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            if call.request_id:
                span.set_attribute("enginehouse.request_id", call.request_id)
            otel_context.detach(token)
            span.end()

    def headers(self) -> list[tuple[str, str]]:
        """Return the metadata that carries the current span to another service."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return list(carrier.items())

    def close(self) -> None:
        """Export the remaining spans and stop; wait up to a few seconds."""
        self._provider.shutdown()


def configure_tracing(*, process: str, otlp_endpoint: str | None, **exporter_options: Any) -> Tracing | None:
    """Return traces to an OTLP collector over gRPC (`http://host:4317`), or None when no endpoint is configured."""
    if not otlp_endpoint:
        return None
    # Imported here: it takes half a second and ten megabytes, which a process without traces need not spend.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(
        endpoint=otlp_endpoint, insecure=not otlp_endpoint.startswith("https://"), **exporter_options
    )
    return Tracing(process=process, exporter=exporter)
