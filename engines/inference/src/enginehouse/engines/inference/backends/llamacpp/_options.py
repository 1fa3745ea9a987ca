"""The options of a catalog entry for llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pydantic


class SamplingDefaults(pydantic.BaseModel):
    """The default sampling of tokens."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    temperature: float = pydantic.Field(default=0.8, ge=0, le=2)
    """0 is greedy."""
    top_p: float = pydantic.Field(default=0.95, gt=0, le=1)
    """Nucleus mass kept."""
    top_k: int = pydantic.Field(default=40, ge=0)
    """Candidates kept; 0 keeps all."""
    min_p: float = pydantic.Field(default=0.05, ge=0, le=1)
    """The lowest probability kept, relative to the best."""
    repeat_penalty: float = pydantic.Field(default=1.0, gt=0, le=2)
    """Multiplicative penalty on repeated tokens; 1 is none."""
    repeat_last_n: int = pydantic.Field(default=64, ge=0, le=2**20)
    """The number of tokens before, the prompt's included, whose repetition is penalised."""
    frequency_penalty: float = pydantic.Field(default=0.0, ge=-2, le=2)
    """Penalty on a token for each time that it occurs among those tokens."""
    presence_penalty: float = pydantic.Field(default=0.0, ge=-2, le=2)
    """Penalty on a token that occurs among them at all."""
    dry_multiplier: float = pydantic.Field(default=0.0, ge=0, le=10)
    """Strength of DRY, which penalises a token that would prolong a repeated sequence; 0 is none."""
    dry_base: float = pydantic.Field(default=1.75, ge=1, le=4)
    """The factor by which that penalty grows with each token of the sequence."""
    dry_allowed_length: int = pydantic.Field(default=2, ge=1, le=1024)
    """The length of a sequence from which DRY penalises the next token."""
    dry_penalty_last_n: int = pydantic.Field(default=512, ge=0, le=2**20)
    """The number of tokens before, the prompt's included, that DRY searches."""
    dry_sequence_breakers: tuple[str, ...] = pydantic.Field(default=("\n", ":", '"', "*"), min_length=1)
    """Texts at which a sequence ends."""

    def repetition(self) -> Mapping[str, Any]:
        """Return the penalties on repetition, as llama.cpp names them in a request."""
        return self.model_dump(mode="json", exclude={"temperature", "top_p", "top_k", "min_p"})


class LlamaCppOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is llama.cpp."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    slots: int = pydantic.Field(default=4, ge=1, le=64)
    """Sequences decoded together; each has the model's whole context for itself."""
    threads: int = pydantic.Field(default=0, ge=0, le=512)
    """Compute threads; 0 takes all cores but one. They wait by spinning, so one thread more than idle cores makes
    everything many times slower."""
    batch_tokens: int = pydantic.Field(default=512, ge=32, le=65536)
    """Prompt tokens read in one step: more is faster, with fewer a cancel takes effect sooner."""
    gpu_layers: int = pydantic.Field(default=-1, ge=-1)
    """Layers on an accelerator, if this build supports one; -1 means all."""
    prompt_cache_mib: int = pydantic.Field(default=256, ge=0)
    """Host memory for the caches of prompts that no slot holds any more; 0 keeps only those in the slots."""
    chat_template: str = ""
    """A Jinja template used instead of the model's own."""
    sampling: SamplingDefaults = SamplingDefaults()
    """The default sampling of tokens."""
    resumable: bool = True
    """Keep results independent of how work is divided, so that a cut stream can be continued exactly: prompts are read
    in small steps, and whether that suffices on this machine is measured at start. On accelerators it does not; false
    reads prompts in steps of `batch_tokens`."""
    pooling: Literal["", "mean", "cls", "last"] = ""
    """The pooling of token vectors into one embedding; empty takes the model's own."""
