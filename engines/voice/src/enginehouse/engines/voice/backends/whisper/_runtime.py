"""What a Whisper is to the recogniser, whichever runtime computes it."""

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
    """How a window is to be heard."""

    language: str = ""
    """Whisper's code; empty detects it."""
    translate: bool = False
    """True if it is to be written down in English."""
    word_times: bool = False
    """True if the words' times are wanted."""
    prompt: str = ""
    """Words that are likely."""
    quick: bool = False
    """True if a rough answer soon is better than a good one later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WhisperSegment:
    """What a runtime heard, with times in seconds from the window's beginning."""

    text: str
    """What was said; begins with a space in languages that have them."""
    start_s: float
    """When it begins."""
    end_s: float
    """When it ends."""
    logprob: float
    """The mean logarithm of its tokens' probabilities."""
    language: str
    """Whisper's code of the language, given or detected."""
    words: Sequence[tuple[str, float, float, float]] = ()
    """Word, beginning, end, probability."""


class WhisperRuntime(Protocol):
    """A Whisper in memory. Computes in the thread that calls it."""

    @property
    def languages(self) -> Sequence[str]:
        """Whisper's codes of the languages that it knows."""

    @property
    def translates(self) -> bool:
        """Return whether it can write down in English what was said in another language."""

    def transcribe(
        self, audio: FloatSamples, decoding: DecodingOptions, check: Callable[[], None]
    ) -> Iterator[WhisperSegment]:
        """Hear a window of at most 30 s and yields what was said.

        `check` is called between its steps; what that raises ends the work.
        """
