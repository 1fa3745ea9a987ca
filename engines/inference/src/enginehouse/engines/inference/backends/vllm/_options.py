"""The options of a catalog entry for vLLM."""

from __future__ import annotations

from typing import Literal

import pydantic


class VllmOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is vllm."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    slots: int = pydantic.Field(default=64, ge=1, le=4096)
    """Sequences decoded together."""
    tensor_parallel_size: int = pydantic.Field(default=1, ge=1, le=64)
    """Accelerators that share the model's layers."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The number format; auto takes the weights' own."""
    gpu_memory_utilization: float = pydantic.Field(default=0.9, gt=0, le=1)
    """The share of an accelerator's memory to use."""
    kv_cache_gib: int = pydantic.Field(default=0, ge=0, le=4096)
    """Memory for the KV cache without an accelerator; 0 leaves the choice to vLLM."""
    prefix_caching: bool = True
    """True to share the computation of common prefixes between prompts."""
    enforce_eager: bool = False
    """True to compile nothing: it starts sooner and runs slower."""
