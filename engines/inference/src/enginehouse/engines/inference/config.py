"""The section `inference` of the configuration."""

from __future__ import annotations

import pydantic

from enginehouse.kit.engine import EngineSection

CLUSTER = "inference"
"""The name of the section, and the engine's kind in catalogs and in the registry."""


class InferenceConfig(EngineSection):
    """One text engine."""

    listen: str = "127.0.0.1:18020"
    """The address of its gRPC server."""
    http_listen: str = "127.0.0.1:18021"
    """The address of /metrics, /healthz and /readyz."""
    hang_s: float = pydantic.Field(default=120.0, ge=1, le=86_400)
    """Seconds that a model may run requests without output before the engine ends itself, to be restarted."""
