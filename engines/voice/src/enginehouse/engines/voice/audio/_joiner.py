"""Joins what is spoken piece by piece into one stream without clicks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

_FADE_MS = 4
# Silence that is left at a chunk's ends: pauses are the joiner's to make.
_KEPT_MS = 30
# The most that a sample of silence differs from zero (-78 dB of full scale).
_SILENT = 4
# The most that a chunk's end may differ from zero without being heard as a click (-54 dB of full scale).
_NEAR_ZERO = 64
# Where the limiter begins, and what nothing passes: -3 and -0.1 dB of full scale.
_KNEE = 10 ** (-3 / 20)
_CEILING = 10 ** (-0.1 / 20)
_FULL = 32767.0


class Joiner:
    """Chunks and pauses in, one stream out, as it comes.

    A chunk (a sentence, say) is `begin`, any number of `feed`, `end`. Its silent ends are cut to 30 ms, its borders are
    faded over 4 ms where they are not near zero, and its volume is set. Within a chunk samples pass through unchanged;
    those that may turn out to be its end (4 ms, and silence) are held back until it is known.

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
        # Whether the chunk has made any sound, and what of it is held back.
        self._sounded = False
        self._held: list[Samples] = []
        # Samples of the fade at its beginning that are done.
        self._faded = 0
        self._samples_out = 0

    @property
    def samples_out(self) -> int:
        """Samples given out so far."""
        return self._samples_out

    def begin(self, *, volume_db: float = 0.0) -> None:
        """Begins a chunk that is so much louder (or softer) than it is fed; what would clip is limited softly."""
        if self._open:
            raise ValueError("a chunk has begun already; end it first")
        if not math.isfinite(volume_db):
            raise ValueError(f"a volume of {volume_db} dB; must be a finite number")
        self._gain = 10 ** (volume_db / 20)
        self._open = True
        self._sounded = False

    def feed(self, samples: Samples) -> Samples:
        """What is ready of the chunk with these samples."""
        self._check_open()
        loud = np.flatnonzero(_loud(samples))
        if not len(loud):
            self._held.append(samples)
            if not self._sounded:
                # Only as much as may be kept of it.
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
        # What may be the chunk's last sounds waits for what follows.
        ready = max(0, before + int(loud[-1]) + 1 - self._fade)
        self._held = [whole[ready:]]
        return self._out(self._fade_in(whole[:ready]))

    def end(self) -> Samples:
        """The rest of the chunk."""
        self._check_open()
        self._open = False
        rest = self._whole()
        self._held = []
        if self._sounded:
            last = int(np.flatnonzero(_loud(rest))[-1]) + 1
            rest = self._fade_out(self._fade_in(rest[: last + self._kept]))
        return self._out(rest)

    def pause(self, milliseconds: int) -> Samples:
        """Silence between chunks."""
        if self._open:
            raise ValueError("a pause is between chunks; end the chunk first")
        if milliseconds < 0:
            raise ValueError(f"a pause of {milliseconds} ms; must be 0 or more")
        return self._out(np.zeros(self._rate * milliseconds // 1000, dtype=np.int16))

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("no chunk has begun; begin one first")

    def _whole(self) -> Samples:
        return np.concatenate(self._held) if self._held else _nothing()

    def _fade_in(self, samples: Samples) -> Samples:
        """Fades what belongs to the chunk's first milliseconds, which may come in several pieces."""
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
    """The samples times a gain. What comes above -3 dB of full scale is bent (tanh), to stay 0.1 dB below it."""
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
    """The largest difference between neighbouring samples, 0 to 65,535: how loud the worst click can be."""
    if len(samples) < 2:
        return 0
    return int(np.abs(np.diff(samples.astype(np.int32))).max())


def _loud(samples: Samples) -> npt.NDArray[np.bool_]:
    # The absolute value of -32,768 is no 16-bit number.
    return (samples > _SILENT) | (samples < -_SILENT)


def _ramp(length: int) -> npt.NDArray[np.float64]:
    """From 0 to nearly 1, without corners."""
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)


def _nothing() -> Samples:
    return np.empty(0, dtype=np.int16)
