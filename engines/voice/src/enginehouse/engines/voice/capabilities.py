"""The model that serves a call, and what it can do."""

from __future__ import annotations

from typing import TypeAlias

from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Recogniser, Speaker
from enginehouse.kit import loading
from enginehouse.kit.errors import Reason, ServiceError

ServedModel: TypeAlias = loading.ServedModel[LoadedVoiceModel]


def speaker_of(served: ServedModel) -> Speaker:
    """The model's voice. Raises UNSUPPORTED_CAPABILITY where it has none."""
    if served.loaded.speaker is None:
        raise unsupported(served, "speech")
    return served.loaded.speaker


def recogniser_of(served: ServedModel) -> Recogniser:
    """The model's ear. Raises UNSUPPORTED_CAPABILITY where it has none."""
    if served.loaded.recogniser is None:
        raise unsupported(served, "transcription")
    return served.loaded.recogniser


def unsupported(served: ServedModel, capability: str) -> ServiceError:
    """The error for what a model cannot do."""
    known = ", ".join(sorted(served.catalog.capabilities)) or "nothing"
    return ServiceError(
        Reason.UNSUPPORTED_CAPABILITY, f"model {served.catalog.name!r} cannot do {capability!r}; it can do: {known}"
    )
