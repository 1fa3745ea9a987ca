"""The options of a catalog entry for ONNX Runtime."""

from __future__ import annotations

from typing import Literal

import pydantic


class OnnxRuntimeOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is ONNX Runtime."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    slots: int = pydantic.Field(default=4, ge=1, le=64)
    """Requests worked on at once."""
    threads: int = pydantic.Field(default=0, ge=0, le=512)
    """Texts, or small batches of them, read at once, each by one thread, over all requests; 0 takes all cores."""
    batch_tokens: int = pydantic.Field(default=0, ge=0, le=65_536)
    """Tokens, with padding, of the texts that are read in one step; a longer text is read by itself. 0 takes 256, which
    is the fastest on CPUs, or in int8 one text, whose vector then does not depend on its neighbours."""
    precision: Literal["", "fp32", "int8"] = ""
    """The precision that weights from a package are converted to; empty takes fp32. Weights from elsewhere are read as
    they are."""
    pooling: Literal["", "mean", "cls"] = ""
    """The pooling of token vectors into one embedding, for a model that does not pool by itself; empty takes mean."""

    @property
    def step_tokens(self) -> int:
        """The tokens of one step; 1 reads a text at a time."""
        if self.batch_tokens:
            return self.batch_tokens
        return 1 if self.precision == "int8" else 256
