"""llama.cpp in this process."""

from __future__ import annotations

from enginehouse.engines.inference.backends.llamacpp._backend import LlamaCppBackend

__all__ = ["LlamaCppBackend"]
