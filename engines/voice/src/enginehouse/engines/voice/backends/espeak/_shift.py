"""Shift the pitch of audio by resampling, while it comes in."""

from __future__ import annotations

import numpy as np

from enginehouse.engines.voice.backends.base import Samples


class PitchShifter:
    """Resamples one stream of audio to `factor` times its rate by linear interpolation.

    The output does not depend on how the stream is cut. Meant for small factors: without a filter the top of the
    spectrum aliases (a factor of 1.13 aliases frequencies above 9.7 of 11 kHz, where speech has almost no energy).
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._held = np.empty(0, np.int16)
        # The position of the held samples in the stream, and the number of output samples.
        self._first = 0
        self._made = 0

    def feed(self, samples: Samples) -> Samples:
        """Take samples and return those that are ready; may be empty."""
        held = np.concatenate((self._held, samples))
        # A sample is interpolated between its two neighbours.
        last = self._first + len(held) - 1
        until = max(self._made, int(np.ceil(last / self._factor)))
        places = np.arange(self._made, until) * self._factor
        before = np.floor(places).astype(np.int64)
        # Rounding may put the last position onto the last sample.
        inside = before < last
        places, before = places[inside], before[inside]
        share = places - before
        left, right = held[before - self._first], held[before + 1 - self._first]
        self._made += len(places)
        done = min(int(np.floor(self._made * self._factor)), last + 1) - self._first
        self._held = held[max(0, done) :]
        self._first += max(0, done)
        made: Samples = np.rint(left * (1 - share) + right * share).astype(np.int16)
        return made
