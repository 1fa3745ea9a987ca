"""Normalize the level of an utterance while it comes in."""

from __future__ import annotations

import numpy as np

from enginehouse.engines.voice.backends.base import Samples

_FRAME = 400
_LOUD_SHARE = 80


class LevelNormalizer:
    """One gain for a whole utterance, measured on its first samples, so that loudness does not change within it.

    Args:
        settle_samples: the number of samples that the gain is measured on. Until then there is no output.
        target: the target level (root mean square) of the loudest fifth of the frames, 400 samples each.
        max_gain: the maximum gain, so that noise does not become speech.
    """

    def __init__(self, *, settle_samples: int, target: float, max_gain: float) -> None:
        self._settle_samples = settle_samples
        self._target = target
        self._max_gain = max_gain
        self._held: list[Samples] = []
        self._count = 0
        self._factor: float | None = None

    def feed(self, samples: Samples) -> Samples:
        """Take samples and return those that are ready; may be empty."""
        if self._factor is None:
            self._held.append(samples)
            self._count += len(samples)
            if self._count < self._settle_samples:
                return np.empty(0, np.int16)
            return self.finish()
        return _scale(samples, self._factor)

    def finish(self) -> Samples:
        """Return the samples still held back."""
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
