"""Convert prosody to espeak-ng's parameters, and to changes of its audio beyond their range.

- Speed: 175 words a minute times the speed, from 80 to 400, where espeak-ng shortens sounds and pauses as a speaker
  does; slower and faster than that, all sounds are stretched alike. So 0.25 to 4 is reached with a deviation of a few
  percent that depends on the text.
- Pitch: the parameter moves a voice's lowest tone; its melody keeps its range in hertz on top of that. With the melody
  of an ordinary voice this reaches 8.8 semitones down and 10 up, within half a semitone; beyond that the audio is
  shifted. The range is scaled along, so that the melody keeps its range in semitones.
- Melody: the parameter is proportional, from monotone to twice as lively.
- Emphasis, for each step: 15% louder, 6% slower, half a semitone higher and a melody 15% wider; the opposite for
  reduced emphasis.
"""

from __future__ import annotations

import dataclasses
import math

from enginehouse.engines.voice.backends.base import Prosody

_WORDS_A_MINUTE = 175
_MIN_RATE, _MAX_RATE = 80, 400
_MIDDLE = 50
_MAX_PITCH = 99
# The melody's share of a voice's mean pitch, relative to its lowest: 0.21 for the plain voice, 0.34 for "+f3".
_MELODY = 0.25


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The parameters of `_jobs.Job`, in its units, and the changes of the audio afterwards."""

    rate: int
    """Words a minute."""
    pitch: int
    """0 to 99."""
    pitch_range: int
    """0 to 99."""
    volume: int
    """Percent."""
    tempo: float
    """Factor of the speed, on top of `rate`."""
    shift: float
    """Factor of the playback rate, which raises the pitch as much; `tempo` makes up for the speed."""


def parameters(prosody: Prosody) -> Parameters:
    """Return the parameters of a prosody; values out of range are clamped."""
    emphasis = _within(prosody.emphasis, -1, 2)
    speed = _within(prosody.speed, 0.25, 4) * 0.94**emphasis
    rate = round(_within(_WORDS_A_MINUTE * speed, _MIN_RATE, _MAX_RATE))
    height = 2 ** (_within(_within(prosody.pitch, -12, 12) + emphasis / 2, -12, 12) / 12)
    # The parameter is a logarithm: 0 halves the lowest tone, 100 would double it.
    lowest = _within(height * (1 + _MELODY) - _MELODY, 0.5, 2 ** ((_MAX_PITCH - _MIDDLE) / _MIDDLE))
    reached = (lowest + _MELODY) / (1 + _MELODY)
    shift = _audible_factor(height / reached)
    return Parameters(
        rate=rate,
        pitch=round(_MIDDLE + _MIDDLE * math.log2(lowest)),
        pitch_range=round(_within(_MIDDLE * prosody.pitch_range * reached * 1.15**emphasis, 0, _MAX_PITCH)),
        volume=round(100 * 1.15**emphasis),
        tempo=_audible_factor(_WORDS_A_MINUTE * speed / rate / shift),
        shift=shift,
    )


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _audible_factor(factor: float) -> float:
    """Return 1 for an inaudible factor, so that the audio is left alone."""
    return 1.0 if abs(factor - 1) < 0.005 else factor
