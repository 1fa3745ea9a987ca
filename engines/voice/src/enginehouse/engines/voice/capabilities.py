"""The model that serves a call, and its capabilities."""

from __future__ import annotations

from typing import TypeAlias

from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Recogniser, Speaker
from enginehouse.kit import loading
from enginehouse.kit.errors import Reason, ServiceError

ServedVoiceModel: TypeAlias = loading.ServedModel[LoadedVoiceModel]


def speaker_of(served: ServedVoiceModel) -> Speaker:
    """Return the model's synthesizer. Raises UNSUPPORTED_CAPABILITY if it has none."""
    if served.loaded.speaker is None:
        raise unsupported(served, "speech")
    return served.loaded.speaker


def recogniser_of(served: ServedVoiceModel) -> Recogniser:
    """Return the model's recogniser. Raises UNSUPPORTED_CAPABILITY if it has none."""
    if served.loaded.recogniser is None:
        raise unsupported(served, "transcription")
    return served.loaded.recogniser


def unsupported(served: ServedVoiceModel, capability: str) -> ServiceError:
    """Return the error for a capability that a model lacks."""
    known = ", ".join(sorted(served.catalog.capabilities)) or "nothing"
    return ServiceError(
        Reason.UNSUPPORTED_CAPABILITY,
        f"model {served.catalog.name!r} does not support {capability!r}; it supports: {known}",
    )
