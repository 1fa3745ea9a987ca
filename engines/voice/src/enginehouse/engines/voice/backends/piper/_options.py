"""Options of Piper models in the catalog."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pydantic

_MAX_THREADS = 4


class PiperOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is piper."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    slots: int = pydantic.Field(default=1, ge=1, le=64)
    """Synthesis processes: the number of sentences that are spoken at once. Each holds the voice, some 160 MiB."""
    threads: int = pydantic.Field(default=0, ge=0, le=64)
    """Threads of each process; 0 divides all cores among them, up to 4 for each."""
    aliases: Mapping[str, str] | None = None
    """Aliases of voices, each for a voice's id. By default, the voice names of OpenAI's speech API, spread over the
    model's speakers, and the name of its recordings, such as "joe"."""
    length_scale: float | None = pydantic.Field(default=None, ge=0.25, le=4)
    """Factor of the length of speech; by default the voice's own, mostly 1."""
    noise_scale: float | None = pydantic.Field(default=None, ge=0, le=2)
    """Variation of the sound; by default the voice's own, mostly 0.667. With both at 0, equal sentences sound equal."""
    noise_w: float | None = pydantic.Field(default=None, ge=0, le=2)
    """Variation of the rhythm; by default the voice's own, mostly 0.8."""
    loudness_lufs: float = pydantic.Field(default=-21, ge=-40, le=-10)
    """The loudness of its speech. Voices are recorded at different levels; -21 is that of espeak-ng."""

    @property
    def threads_of_each(self) -> int:
        """The number of threads of each process."""
        return self.threads or max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // self.slots))
