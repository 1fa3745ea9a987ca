"""Models of providers that speak OpenAI's API."""

from __future__ import annotations

from enginehouse.engines.inference.backends.upstream._backend import UpstreamBackend, UpstreamModel

__all__ = ["UpstreamBackend", "UpstreamModel"]
