"""vLLM in this process."""

from __future__ import annotations

from enginehouse.engines.inference.backends.vllm._backend import VllmBackend, VllmModel

__all__ = ["VllmBackend", "VllmModel"]
