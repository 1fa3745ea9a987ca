"""Shared parts of the tests of decoder processes."""

from __future__ import annotations

import contextlib

import numpy as np
import psutil

from enginehouse.engines.voice.audio import DecoderPool, MediaLimits, pcm_bytes
from enginehouse.engines.voice.backends.base import Samples
from engines.voice.tests.audio.sounds import LIMITS, tone, wav

SHORT = wav(pcm_bytes(tone(440, 1, 16_000)))


def children() -> list[psutil.Process]:
    """Return the decoder processes of this process."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(part.endswith("audio.decoding._child") for part in process.cmdline()):
                found.append(process)
    return found


async def decoded(pool: DecoderPool, data: bytes, *, rate: int = 16_000, limits: MediaLimits = LIMITS) -> Samples:
    pieces = [samples async for samples in pool.decode(data, rate=rate, limits=limits)]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int16)
