"""Brings an utterance to a level while it comes in."""

from __future__ import annotations

import numpy as np

from enginehouse.engines.voice.backends.base import Samples

_FRAME = 400
_LOUD_SHARE = 80


class LevelNormalizer:
    """One factor for a whole utterance, settled by its first samples, so that loudness does not change within it.

    Args:
        settle_samples: after how many samples the factor is settled. Until then nothing comes out.
        target: what the loudest fifth of the frames, 400 samples each, is brought to: the root of their mean square.
        max_gain: the largest factor; noise is not to become speech.
    """

    def __init__(self, *, settle_samples: int, target: float, max_gain: float) -> None:
        self._settle_samples = settle_samples
        self._target = target
        self._max_gain = max_gain
        self._held: list[Samples] = []
        self._count = 0
        self._factor: float | None = None

    def feed(self, samples: Samples) -> Samples:
        """What can be given out now; may be empty."""
        if self._factor is None:
            self._held.append(samples)
            self._count += len(samples)
            if self._count < self._settle_samples:
                return np.empty(0, np.int16)
            return self.finish()
        return _scale(samples, self._factor)

    def finish(self) -> Samples:
        """What is still held back."""
        held = np.concatenate([np.empty(0, np.int16), *self._held])
        self._held = []
        if self._factor is None:
            self._factor = min(self._target / max(_loudness(held[: self._settle_samples]), 1.0), self._max_gain)
        return _scale(held, self._factor)


def _scale(samples: Samples, factor: float) -> Samples:
    scaled: Samples = np.clip(np.rint(samples * factor), -32768, 32767).astype(np.int16)
    return scaled


def _loudness(samples: Samples) -> float:
    whole = len(samples) // _FRAME * _FRAME
    if not whole:
        return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    frames = np.square(samples[:whole].reshape(-1, _FRAME), dtype=np.float64).mean(axis=1)
    return float(np.percentile(np.sqrt(frames), _LOUD_SHARE))
