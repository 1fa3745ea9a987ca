"""What a catalog entry may say to the Whispers."""

from __future__ import annotations

from typing import Literal

import pydantic

from enginehouse.engines.voice.backends._torch_runtime import Device


class WhisperOptions(pydantic.BaseModel):
    """What both runtimes understand."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    device: Device = "auto"
    """Where it computes."""
    beam_size: int = pydantic.Field(default=5, ge=1, le=20)
    """The number of ways of hearing it are followed at once; 1 is fastest."""
    vad: bool = True
    """True if what is no speech is left out: Whisper makes words of silence."""


class FasterWhisperOptions(WhisperOptions):
    """The `options` of a catalog model whose backend is faster-whisper."""

    compute_type: Literal[
        "default", "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16",
        "float32",
    ] = "default"  # fmt: skip
    """The numbers it computes in; default takes the weights' own, auto the fastest."""
    slots: int = pydantic.Field(default=1, ge=1, le=64)
    """The number of windows it hears at once; each takes memory."""
    threads: int = pydantic.Field(default=0, ge=0, le=1024)
    """Cores for each of them; 0 shares out all there are."""


class OpenaiWhisperOptions(WhisperOptions):
    """The `options` of a catalog model whose backend is openai-whisper."""

    compute_type: Literal["default", "float16", "float32"] = "default"
    """The numbers it computes in; default is float16 on CUDA and float32 elsewhere."""
