"""Convert a prosody to the parameters of Piper."""

from __future__ import annotations

import dataclasses

from enginehouse.engines.voice.backends.base import Prosody

FOLLOWED = frozenset({"speed", "pitch", "emphasis"})
"""The fields of `Prosody` that Piper's voices follow. Their melody is the model's own."""

# The share of an utterance's length that `length_scale` leaves alone: every phoneme lasts a whole number of frames.
_FIXED = 0.23
# A model slurs shorter phonemes; the rest of the speed is made of its audio.
_SHORTEST = 0.6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClauseParameters:
    """The parameters of an utterance, relative to the voice's own."""

    length_scale: float
    """Factor of the phonemes' lengths, in the model."""
    tempo: float
    """Factor of the speed of the audio, on top of `length_scale`."""
    pitch_factor: float
    """Factor of all frequencies, by resampling; the others make up for the speed."""
    gain: float
    """Factor of the samples."""


def parameters(prosody: Prosody) -> ClauseParameters:
    """Return the parameters of a prosody; values out of range are clamped."""
    emphasis = _within(prosody.emphasis, -1, 2)
    speed = _within(prosody.speed, 0.25, 4) * 0.94**emphasis
    pitch_factor = 2 ** (_within(prosody.pitch + emphasis / 2, -12, 12) / 12)
    length = pitch_factor / speed
    made = max(length, _SHORTEST)
    return ClauseParameters(
        length_scale=(made - _FIXED) / (1 - _FIXED),
        tempo=made / length,
        pitch_factor=pitch_factor,
        gain=1.15**emphasis,
    )


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
