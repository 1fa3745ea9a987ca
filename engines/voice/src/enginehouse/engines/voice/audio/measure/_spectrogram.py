"""Spectrograms: time from left to right, frequency from bottom to top, bright is loud."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from enginehouse.engines.voice.backends.base import Samples

_WINDOW_S = 0.02
_STEP_S = 0.005
# Levels this far below full scale are drawn black.
_FLOOR_DB = -100.0


def spectrogram(samples: Samples, rate: int) -> npt.NDArray[np.float64]:
    """Return levels in dBFS, -100 to about 0: a row for each frequency from 0 to half the rate, a column each 5 ms.

    `rate` is in samples a second. Audio shorter than a window of 20 ms has one column.
    """
    size = max(2, round(_WINDOW_S * rate))
    step = max(1, round(_STEP_S * rate))
    wave = np.pad(samples / 32768, (0, max(0, size - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(wave, size)[::step]
    shape = np.hanning(size)
    # A sine at full scale is 0 dB.
    spectrum = np.abs(np.fft.rfft(windows * shape, axis=1)) * 2 / shape.sum()
    with np.errstate(divide="ignore"):
        levels: npt.NDArray[np.float64] = np.maximum(20 * np.log10(spectrum), _FLOOR_DB)
    return levels.T


def write_png(path: Path, levels: npt.NDArray[np.float64]) -> None:
    """Draw the output of `spectrogram` into a grey PNG file (ISO/IEC 15948), the lowest frequency at the bottom.

    Raises ValueError for an array that is empty or does not have two dimensions.
    """
    if levels.ndim != 2 or not levels.size:
        raise ValueError(f"invalid shape: {levels.shape}; must have rows and columns")
    grey = np.clip((levels[::-1] - _FLOOR_DB) / -_FLOOR_DB * 255, 0, 255).astype(np.uint8)
    height, width = grey.shape
    # Each line begins with the number of its filter: 0 is no filter.
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), grey], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, body) for name, body in chunks))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
