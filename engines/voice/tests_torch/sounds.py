"""Voice-like sounds, and real speech."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from enginehouse.engines.voice.backends.base import Utterance
from enginehouse.engines.voice.backends.espeak import EspeakBackend
from engines.voice.tests_torch.models import catalog_model

RATE = 16_000


def voiced(pitch: float, seconds: float, *, rate: int = RATE) -> npt.NDArray[np.int16]:
    """Harmonics of a pitch in hertz that swell four times a second, like syllables."""
    time = np.arange(round(seconds * rate)) / rate
    sound = sum(np.sin(2 * np.pi * pitch * number * time) / number for number in range(1, 20))
    sound = sound * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    return (sound / np.abs(sound).max() * 12_000).astype(np.int16)


def silence(seconds: float, *, rate: int = RATE) -> npt.NDArray[np.int16]:
    return np.zeros(round(seconds * rate), np.int16)


async def speech(text: str) -> npt.NDArray[np.int16]:
    """Synthesize an English text by espeak-ng."""
    loaded = await EspeakBackend().load(catalog_model("espeak-ng", "package:espeakng-loader"))
    speaker = loaded.speaker
    assert speaker is not None
    said = np.concatenate([part async for part in speaker.speak(Utterance(text=text, language="en", voice=""))])
    await loaded.close()
    return np.interp(np.arange(0, len(said), speaker.info.sample_rate / RATE), np.arange(len(said)), said).astype(
        np.int16
    )
