"""Embeddings by ONNX Runtime in this process."""

from __future__ import annotations

from enginehouse.engines.inference.backends.onnxruntime._backend import OnnxRuntimeBackend

__all__ = ["OnnxRuntimeBackend"]
