"""Sounds that pass for voices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE = 16_000


def voiced(pitch: float, seconds: float, *, rate: int = RATE) -> npt.NDArray[np.int16]:
    """Harmonics of a pitch in hertz that swell four times a second, as syllables do."""
    time = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * pitch * number * time) / number for number in range(1, 20))
    sound = sound * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    return (sound / np.abs(sound).max() * 12_000).astype(np.int16)


def silence(seconds: float, *, rate: int = RATE) -> npt.NDArray[np.int16]:
    return np.zeros(round(seconds * rate), np.int16)
