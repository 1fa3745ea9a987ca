"""JSON logs, Prometheus metrics and OpenTelemetry traces. Those that are off cost nothing."""

from __future__ import annotations

from enginehouse.kit.telemetry._logging import configure_logging
from enginehouse.kit.telemetry._metrics import CallMetrics, MetricsServer, ReporterMetrics, RpcMetrics
from enginehouse.kit.telemetry._tracing import Tracing, configure_tracing

__all__ = [
    "CallMetrics",
    "MetricsServer",
    "ReporterMetrics",
    "RpcMetrics",
    "Tracing",
    "configure_logging",
    "configure_tracing",
]
