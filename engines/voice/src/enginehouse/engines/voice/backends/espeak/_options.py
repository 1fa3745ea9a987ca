"""Options of espeak-ng models in the catalog."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pydantic


def _default_workers() -> int:
    return min(2, os.cpu_count() or 1)


def _default_aliases() -> dict[str, str]:
    return {
        "alloy": "+f2",
        "ash": "+m3",
        "ballad": "+michael",
        "cedar": "+m5",
        "coral": "+f4",
        "echo": "+m7",
        "fable": "+max",
        "marin": "+linda",
        "nova": "+f3",
        "onyx": "+mike",
        "sage": "+belinda",
        "shimmer": "+annie",
        "verse": "+robert",
    }


class EspeakOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is espeak-ng."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    workers: int = pydantic.Field(default_factory=_default_workers, ge=1, le=64)
    """Synthesis processes, each on one core: the number of concurrent utterances. A sentence takes some 10 ms."""
    aliases: Mapping[str, str] = pydantic.Field(default_factory=_default_aliases)
    """Aliases of voices, each for a voice's id, or for a variant such as "+f2" in any language. By default, the voice
    names of OpenAI's speech API, for variants that differ as much as those do."""
