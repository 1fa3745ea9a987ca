"""Speech for tests, and measurements of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt

from enginehouse.engines.voice.backends.base import Prosody, Samples, Speaker, Utterance
from enginehouse.engines.voice.backends.espeak import EspeakBackend
from engines.voice.tests.voice_engine import speech_model

SENTENCE = "Please call me back tomorrow morning at nine, if you can. It was the best of times."


@contextlib.asynccontextmanager
async def speaking(**options: Any) -> AsyncIterator[Any]:
    loaded = await EspeakBackend().load(speech_model(options=options))
    assert loaded.speaker is not None
    try:
        yield loaded.speaker
    finally:
        await loaded.close()


def utterance(text: str = SENTENCE, *, language: str = "en", voice: str = "", **changes: Any) -> Utterance:
    return Utterance(text=text, language=language, voice=voice, **changes)


async def said(speaker: Speaker, text: str = SENTENCE, **changes: Any) -> Samples:
    pieces = [piece async for piece in speaker.speak(utterance(text, **changes))]
    return np.concatenate([np.empty(0, np.int16), *pieces])


async def seconds(speaker: Speaker, *, prosody: Prosody, **changes: Any) -> float:
    return len(await said(speaker, prosody=prosody, **changes)) / speaker.info.sample_rate


def loudness(samples: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def heights(samples: Samples, rate: int) -> list[float]:
    """Return the frequencies of the voiced frames, in hertz, by the peaks of their autocorrelation."""
    length = int(0.05 * rate)
    found = []
    for start in range(0, len(samples) - length, length // 2):
        frame = samples[start : start + length].astype(np.float64)
        frame -= frame.mean()
        if loudness(frame) < 500:
            continue
        spectrum = np.fft.rfft(frame, 2 * length)
        lags = np.fft.irfft(spectrum * spectrum.conj())[:length]
        shortest, longest = rate // 500, rate // 60
        peak = shortest + int(np.argmax(lags[shortest:longest]))
        if lags[peak] > 0.6 * lags[0]:
            found.append(rate / peak)
    return found


def fundamental(samples: Samples, rate: int) -> float:
    """Return the median of the voiced frames' frequencies, in hertz."""
    return float(np.median(heights(samples, rate)))


def semitones(high: float, low: float) -> float:
    return float(12 * np.log2(high / low))
