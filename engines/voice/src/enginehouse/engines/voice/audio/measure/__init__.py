"""Measurements of audio, for tests and benchmarks: loudness, peaks, clicks, spectrograms."""

from __future__ import annotations

from enginehouse.engines.voice.audio._joiner import largest_jump
from enginehouse.engines.voice.audio.measure._loudness import clipped, loudness_lufs, sample_peak_db, true_peak_db
from enginehouse.engines.voice.audio.measure._spectrogram import spectrogram, write_png

__all__ = [
    "clipped",
    "largest_jump",
    "loudness_lufs",
    "sample_peak_db",
    "spectrogram",
    "true_peak_db",
    "write_png",
]
