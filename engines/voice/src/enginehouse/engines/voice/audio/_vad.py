"""Voice activity detection (VAD): tell speech frames from other frames."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import webrtcvad

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

FRAME_MS = 20
RATES = (8_000, 16_000, 32_000, 48_000)
"""The sample rates that the detector supports."""

_MODE = 2
# Below this level a frame is no speech, whatever the detector returns (-70 dBFS).
_MIN_LEVEL = 10.0
# Speech is at least this much louder than the background: 3 dB. The detector takes loud steady noise for speech.
_ABOVE_BACKGROUND = 1.41
# The detector is made for voices of about this level, and misses the beginnings of softer ones.
_USUAL_LEVEL = 3_000.0
_MAX_GAIN = 16.0
# Decay of the loudest level, a frame: by half in seven seconds.
_FADE = 0.998
# The background is the quietest frame of some seconds, in which even a fast speaker pauses now and then.
_BLOCK_FRAMES = 25
_BLOCKS = 12


class Vad:
    """Voice activity detector: decides frame by frame, by WebRTC's detector and by the level over the background.

    Args:
        sample_rate: 8,000, 16,000, 32,000 or 48,000 samples a second; raises ValueError for others.
    """

    def __init__(self, *, sample_rate: int) -> None:
        if sample_rate not in RATES:
            known = ", ".join(map(str, RATES))
            raise ValueError(f"{sample_rate} samples a second: speech is detected at {known} only; use a Resampler")
        self._sample_rate = sample_rate
        self._detector = webrtcvad.Vad(_MODE)
        self._loudest = 0.0
        self._block: list[float] = []
        # The quietest frame of each block of half a second.
        self._quietest: deque[float] = deque(maxlen=_BLOCKS)

    @property
    def frame_samples(self) -> int:
        """Samples of a frame."""
        return self._sample_rate * FRAME_MS // 1000

    def frame(self, samples: Samples) -> tuple[bool, float]:
        """Return whether the next frame is speech, and its level: the root mean square, 0 to 32,768."""
        level = float(samples.std())
        # In the first half second the background is unknown: it is not amplified, and no speech is missed.
        background = min(self._quietest, default=0.0)
        self._loudest = max(self._loudest * _FADE, level)
        gain = min(_MAX_GAIN, max(1.0, _USUAL_LEVEL / max(self._loudest, 1.0))) if self._quietest else 1.0
        louder = np.clip(samples * gain, -32768, 32767).astype("<i2")
        is_speech = bool(self._detector.is_speech(louder.tobytes(), self._sample_rate))
        self._block.append(level)
        if len(self._block) == _BLOCK_FRAMES:
            self._quietest.append(min(self._block))
            self._block.clear()
        return is_speech and level >= max(_MIN_LEVEL, background * _ABOVE_BACKGROUND), level


def quietest_place(levels: list[float], first: int) -> int:
    """Return the index, from `first` on, of the frame in the middle of the quietest tenth of a second."""
    window = 5
    values = np.asarray(levels[first:])
    if len(values) < window:
        return first + int(np.argmin(values))
    energy = np.convolve(values**2, np.ones(window), mode="valid")
    return first + int(np.argmin(energy)) + window // 2
