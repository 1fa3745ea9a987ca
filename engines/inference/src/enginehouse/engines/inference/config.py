"""The section `inference` of the configuration."""

from __future__ import annotations

import pydantic

from enginehouse.kit.engine import EngineSection

CLUSTER = "inference"
"""The section, and the kind of engine that this is in catalogs and in the registry."""


class InferenceConfig(EngineSection):
    """One text engine."""

    listen: str = "127.0.0.1:18020"
    """Where it serves gRPC."""
    http_listen: str = "127.0.0.1:18021"
    """Where it serves /metrics, /healthz and /readyz."""
    hang_s: float = pydantic.Field(default=120.0, ge=1, le=86_400)
    """Seconds that a model may run requests without making anything before the engine ends itself, to be restarted."""
