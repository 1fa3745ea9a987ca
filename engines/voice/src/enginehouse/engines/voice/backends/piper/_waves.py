"""Change the pitch and the speed of a whole clause's wave."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Wave = npt.NDArray[np.float64]

# Segments of the time stretch, and how far each may move to fit to the one before.
_SEGMENT_S = 0.03
_SEARCH_S = 0.01


def resampled(wave: Wave, factor: float) -> Wave:
    """Return the wave played `factor` times as fast, its pitch that much higher, without aliasing.

    Its ends should be silent.
    """
    length = round(len(wave) / factor)
    if length in (0, len(wave)):
        return wave
    # A spectrum that is cut off or continued with nothing is that of the wave at another rate.
    return np.asarray(np.fft.irfft(np.fft.rfft(wave), length) * (length / len(wave)), np.float64)


def hastened(wave: Wave, factor: float, rate: int) -> Wave:
    """Return the wave `factor` times as fast at the same pitch, by overlapping segments that fit (WSOLA)."""
    half = max(1, round(_SEGMENT_S * rate / 2))
    search = max(1, round(_SEARCH_S * rate))
    size = 2 * half
    if factor == 1 or len(wave) < 2 * (size + search):
        return wave
    window = 0.5 - 0.5 * np.cos(np.pi * np.arange(size) / half)
    padded = np.pad(wave, (search + half, size + half + search))
    count = int(len(wave) / factor) // half + 2
    made = np.zeros((count + 1) * half)
    at = search
    for number in range(count):
        if number:
            # What would follow the segment before, had it not been cut.
            natural = padded[at + half : at + half + size]
            wanted = min(search + round(number * half * factor), len(padded) - size - search)
            area = padded[wanted - search : wanted + search + size]
            at = wanted - search + int(np.argmax(np.correlate(area, natural, "valid")))
        segment = padded[at : at + size]
        made[number * half : number * half + size] += segment * window[: len(segment)]
    return made[half : half + round(len(wave) / factor)]
