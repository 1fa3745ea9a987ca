"""Mix channels to one so that speech survives: where channels cancel each other, the loudest speaks alone.

Stereo with one channel inverted, as a wrongly wired cable or a karaoke effect makes it, is silence in the usual mix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK_S = 0.02
# How much of the level so far counts at each block.
_MEMORY = 0.8
# Of the power that the channels have in the mix if they have nothing to do with each other, a mix keeps about all; with
# less than this share of it, they cancel, and with more than the second they do no longer.
_CANCELLED, _RESTORED = 0.25, 0.5
# Another channel is taken instead once it has so many times the power: each change may be heard.
_LOUDER = 4.0
# Full scale is 1. Below this power there is nothing to decide by.
_SILENCE = 1e-9


class Mixdown:
    """Mixer of the samples of several channels, block by block.

    Args:
        weights: the share of each channel in the mix.
        sample_rate: samples a second.
    """

    def __init__(self, *, weights: NDArray[np.float32], sample_rate: int) -> None:
        self._mix = weights.astype(np.float32)
        self._block = max(1, round(sample_rate * _BLOCK_S))
        # Of two blocks the change from one to the other is heard least.
        self._fade = np.linspace(0, 1, self._block, endpoint=False, dtype=np.float32)[:, None]
        self._pending = np.empty((0, len(weights)), dtype=np.float32)
        self._weights: NDArray[np.float32] | None = None
        self._powers = np.zeros(len(weights))
        self._mixed_power = 0.0
        self._alone: int | None = None

    def feed(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take samples, one row each with a column for each channel, and return the mix that is ready."""
        samples = np.concatenate([self._pending, np.nan_to_num(channels, nan=0.0, posinf=1.0, neginf=-1.0)])
        whole = len(samples) // self._block * self._block
        self._pending = samples[whole:]
        made = [self._mixed(samples[start : start + self._block]) for start in range(0, whole, self._block)]
        return np.concatenate(made) if made else np.empty(0, dtype=np.float32)

    def finish(self) -> NDArray[np.float32]:
        """Return the mix of the samples held back."""
        rest, self._pending = self._pending, self._pending[:0]
        return self._mixed(rest) if len(rest) else np.empty(0, dtype=np.float32)

    def _mixed(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = self._decide(block)
        before = weights if self._weights is None else self._weights
        self._weights = weights
        if before is weights:
            return block @ weights
        faded: NDArray[np.float32] = (block * (before + (weights - before) * self._fade[: len(block)])).sum(axis=1)
        return faded

    def _decide(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the weights for a block."""
        memory = 0.0 if self._weights is None else _MEMORY
        powers = np.square(block, dtype=np.float64).mean(axis=0)
        mixed = float(np.square(block @ self._mix, dtype=np.float64).mean())
        self._powers = memory * self._powers + (1 - memory) * powers
        self._mixed_power = memory * self._mixed_power + (1 - memory) * mixed
        expected = float((np.square(self._mix, dtype=np.float64) * self._powers).sum())
        if expected < _SILENCE:
            return self._mix if self._weights is None else self._weights
        kept = self._mixed_power / expected
        if kept < (_CANCELLED if self._alone is None else _RESTORED):
            # A channel that the mix leaves out, such as that of low effects, has no speech.
            loudest = int(np.argmax(np.where(self._mix > 0, self._powers, -1.0)))
            if self._alone is None or self._powers[loudest] > _LOUDER * self._powers[self._alone]:
                self._alone = loudest
                alone = np.zeros_like(self._mix)
                alone[loudest] = 1.0
                return alone
            return self._weights if self._weights is not None else self._mix
        self._alone = None
        return self._mix
