"""The interface of a Whisper runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

FloatSamples: TypeAlias = npt.NDArray[np.float32]
"""16,000 samples a second, from -1 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingOptions:
    """Options for decoding a window."""

    language: str = ""
    """Whisper's code; empty detects it."""
    translate: bool = False
    """True to translate to English."""
    word_times: bool = False
    """True to return the times of words."""
    prompt: str = ""
    """Likely words."""
    quick: bool = False
    """True to prefer a rough result soon over a good one later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperSegment:
    """A transcribed segment, with times in seconds from the window's beginning."""

    text: str
    """The transcription; begins with a space in languages that have spaces."""
    start_s: float
    """Its beginning."""
    end_s: float
    """Its end."""
    logprob: float
    """The mean log probability of its tokens."""
    language: str
    """Whisper's code of the language, given or detected."""
    words: Sequence[tuple[str, float, float, float]] = ()
    """Word, beginning, end, probability."""


class WhisperRuntime(Protocol):
    """A loaded Whisper model. Computes in the calling thread."""

    def transcribe(
        self, audio: FloatSamples, decoding: DecodingOptions, check: Callable[[], None]
    ) -> Iterator[WhisperSegment]:
        """Transcribe a window of at most 30 s and yield its segments.

        `check` is called between its steps; an exception from it ends the work.
        """
