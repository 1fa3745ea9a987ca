"""Join synthesized chunks into one stream without clicks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

_FADE_MS = 4
# Silence left at a chunk's ends: the joiner makes the pauses.
_KEPT_MS = 30
# The largest sample of silence (-78 dBFS).
_SILENT = 4
# The largest sample at a chunk's end that is not heard as a click (-54 dBFS).
_NEAR_ZERO = 64
# The limiter's knee and ceiling: -3 and -0.1 dBFS.
_KNEE = 10 ** (-3 / 20)
_CEILING = 10 ** (-0.1 / 20)
_FULL = 32767.0


class Joiner:
    """A stream made of chunks and pauses while they come.

    A chunk, such as a sentence, is `begin`, any number of `feed`, `end`. Its silent ends are trimmed to 30 ms, its
    edges are faded over 4 ms unless they are near zero, and its volume is set. Within a chunk samples pass through
    unchanged; the last 4 ms and any silence are held back until it is known whether they are the chunk's end.

    Args:
        sample_rate: samples a second, in and out.
    """

    def __init__(self, *, sample_rate: int) -> None:
        if sample_rate <= 0:
            raise ValueError(f"{sample_rate} samples a second: must be positive")
        self._rate = sample_rate
        self._fade = max(1, sample_rate * _FADE_MS // 1000)
        self._kept = sample_rate * _KEPT_MS // 1000
        self._gain = 1.0
        self._open = False
        # Whether the chunk has made any sound, and the samples that are held back.
        self._sounded = False
        self._held: list[Samples] = []
        # Samples of the fade-in that are done.
        self._faded = 0
        self._samples_out = 0

    @property
    def samples_out(self) -> int:
        """The number of samples returned so far."""
        return self._samples_out

    def begin(self, *, volume_db: float = 0.0) -> None:
        """Begin a chunk with a gain of `volume_db`; peaks that would clip are limited softly."""
        if self._open:
            raise ValueError("a chunk is open already; end it first")
        if not math.isfinite(volume_db):
            raise ValueError(f"invalid volume: {volume_db} dB; must be a finite number")
        self._gain = 10 ** (volume_db / 20)
        self._open = True
        self._sounded = False

    def feed(self, samples: Samples) -> Samples:
        """Add samples to the chunk and return those that are ready."""
        self._check_open()
        loud = np.flatnonzero(_loud(samples))
        if not len(loud):
            self._held.append(samples)
            if not self._sounded:
                # Only as much of the silence as may be kept.
                self._held = [self._whole()[-self._kept :]]
            return _nothing()
        if not self._sounded:
            self._sounded = True
            self._held = [np.concatenate([*self._held, samples[: loud[0]]])[-self._kept :]]
            samples, loud = samples[loud[0] :], loud - loud[0]
            border = self._held[0] if len(self._held[0]) else samples
            self._faded = self._fade if abs(int(border[0])) <= _NEAR_ZERO else 0
        before = sum(map(len, self._held))
        self._held.append(samples)
        whole = self._whole()
        # The possible end of the chunk is held back.
        ready = max(0, before + int(loud[-1]) + 1 - self._fade)
        self._held = [whole[ready:]]
        return self._out(self._fade_in(whole[:ready]))

    def end(self) -> Samples:
        """End the chunk and return the rest of it."""
        self._check_open()
        self._open = False
        rest = self._whole()
        self._held = []
        if self._sounded:
            last = int(np.flatnonzero(_loud(rest))[-1]) + 1
            rest = self._fade_out(self._fade_in(rest[: last + self._kept]))
        return self._out(rest)

    def pause(self, milliseconds: int) -> Samples:
        """Return silence between chunks."""
        if self._open:
            raise ValueError("a chunk is open: pauses come between chunks; end it first")
        if milliseconds < 0:
            raise ValueError(f"invalid pause: {milliseconds} ms; must be 0 or more")
        return self._out(np.zeros(self._rate * milliseconds // 1000, dtype=np.int16))

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("no chunk is open; begin one first")

    def _whole(self) -> Samples:
        return np.concatenate(self._held) if self._held else _nothing()

    def _fade_in(self, samples: Samples) -> Samples:
        """Fade in the chunk's first milliseconds, which may come in several parts."""
        length = min(self._fade - self._faded, len(samples))
        if not length:
            return samples
        head = samples[:length] * _ramp(self._fade)[self._faded : self._faded + length]
        self._faded += length
        return np.concatenate([np.rint(head).astype(np.int16), samples[length:]])

    def _fade_out(self, samples: Samples) -> Samples:
        if abs(int(samples[-1])) <= _NEAR_ZERO:
            return samples
        length = min(self._fade, len(samples))
        tail = samples[-length:] * _ramp(length)[::-1]
        return np.concatenate([samples[:-length], np.rint(tail).astype(np.int16)])

    def _out(self, samples: Samples) -> Samples:
        self._samples_out += len(samples)
        return amplify(samples, self._gain)


def amplify(samples: Samples, gain: float) -> Samples:
    """Return the samples times a gain. Peaks above -3 dBFS are compressed (tanh) to stay below -0.1 dBFS."""
    if gain == 1.0 or not len(samples):
        return samples
    loud = samples.astype(np.float64) * (gain / _FULL)
    if gain > 1.0:
        over = np.abs(loud) > _KNEE
        room = _CEILING - _KNEE
        bent = _KNEE + room * np.tanh((np.abs(loud[over]) - _KNEE) / room)
        loud[over] = np.copysign(bent, loud[over])
    return np.rint(loud * _FULL).astype(np.int16)


def largest_jump(samples: Samples) -> int:
    """Return the largest difference between neighbouring samples, 0 to 65,535: a bound on the loudest click."""
    if len(samples) < 2:
        return 0
    return int(np.abs(np.diff(samples.astype(np.int32))).max())


def _loud(samples: Samples) -> npt.NDArray[np.bool_]:
    # The absolute value of -32,768 does not fit into 16 bits.
    return (samples > _SILENT) | (samples < -_SILENT)


def _ramp(length: int) -> npt.NDArray[np.float64]:
    """A smooth ramp from 0 to nearly 1."""
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)


def _nothing() -> Samples:
    return np.empty(0, dtype=np.int16)
