"""Options of Whisper models in the catalog."""

from __future__ import annotations

from typing import Literal

import pydantic

from enginehouse.engines.voice.backends._torch_runtime import Device


class WhisperOptions(pydantic.BaseModel):
    """Options of both runtimes."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    device: Device = "auto"
    """The device to compute on."""
    beam_size: int = pydantic.Field(default=5, ge=1, le=20)
    """The width of the beam search; 1 is fastest."""
    vad: bool = True
    """True to skip frames without speech: Whisper hallucinates words in silence."""


class FasterWhisperOptions(WhisperOptions):
    """The `options` of a catalog model whose backend is faster-whisper."""

    compute_type: Literal[
        "default", "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16",
        "float32",
    ] = "default"  # fmt: skip
    """The numeric type; "default" is the weights' own, "auto" the fastest."""
    slots: int = pydantic.Field(default=1, ge=1, le=64)
    """The number of windows that it transcribes at once; each takes memory."""
    threads: int = pydantic.Field(default=0, ge=0, le=1024)
    """Threads for each of them; 0 divides all cores among them."""


class OpenaiWhisperOptions(WhisperOptions):
    """The `options` of a catalog model whose backend is openai-whisper."""

    compute_type: Literal["default", "float16", "float32"] = "default"
    """The numeric type; "default" is float16 on CUDA and float32 elsewhere."""
