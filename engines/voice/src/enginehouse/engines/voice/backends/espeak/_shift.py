"""Plays audio faster or slower, and so higher or lower, while it comes in."""

from __future__ import annotations

import numpy as np

from enginehouse.engines.voice.backends.base import Samples


class Shift:
    """Reads one stream of audio at `factor` times its pace, between its samples too.

    What comes out does not depend on how the stream is cut. Meant for small factors: nothing is filtered, so the top of
    the spectrum folds over (a factor of 1.13 folds what lies above 9.7 of 11 kHz, where speech has next to nothing).
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._held = np.empty(0, np.int16)
        # Where the held samples begin in the stream, and how many samples have been made.
        self._first = 0
        self._made = 0

    def feed(self, samples: Samples) -> Samples:
        """What can be made with these; may be empty."""
        held = np.concatenate((self._held, samples))
        # A sample is made of the two around its place.
        last = self._first + len(held) - 1
        until = max(self._made, int(np.ceil(last / self._factor)))
        places = np.arange(self._made, until) * self._factor
        before = np.floor(places).astype(np.int64)
        # Rounding may put the last place onto the last sample.
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
