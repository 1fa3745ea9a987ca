"""The model that serves a call, and its capabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from enginehouse.engines.voice.backends.base import (
    LoadedVoiceModel,
    Recogniser,
    RecogniserInfo,
    Speaker,
    SpeakerInfo,
    VoiceModelInfo,
)
from enginehouse.kit import loading
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.languages import canonical_case, fold_tag, nearest_tag

ServedVoiceModel: TypeAlias = loading.ServedModel[VoiceModelInfo, LoadedVoiceModel]
VoiceModels: TypeAlias = loading.ServedModels[VoiceModelInfo, LoadedVoiceModel]


def speaker_info(served: ServedVoiceModel) -> SpeakerInfo:
    """Return the properties of the model's synthesizer. Raises UNSUPPORTED_CAPABILITY if it has none."""
    if served.info.speaker is None:
        raise unsupported(served, "speech")
    return served.info.speaker


def recogniser_info(served: ServedVoiceModel) -> RecogniserInfo:
    """Return the properties of the model's recogniser. Raises UNSUPPORTED_CAPABILITY if it has none."""
    if served.info.recogniser is None:
        raise unsupported(served, "transcription")
    return served.info.recogniser


def loaded_speaker(loaded: LoadedVoiceModel) -> Speaker:
    """Return the synthesizer of a model that has one."""
    assert loaded.speaker is not None
    return loaded.speaker


def loaded_recogniser(loaded: LoadedVoiceModel) -> Recogniser:
    """Return the recogniser of a model that has one."""
    assert loaded.recogniser is not None
    return loaded.recogniser


def unsupported(served: ServedVoiceModel, capability: str) -> ServiceError:
    """Return the error for a capability that a model lacks."""
    known = ", ".join(sorted(served.catalog.capabilities)) or "nothing"
    return ServiceError(
        Reason.UNSUPPORTED_CAPABILITY,
        f"model {served.catalog.name!r} does not support {capability!r}; it supports: {known}",
    )


def known_as(tag: str, languages: Sequence[str]) -> str | None:
    """Return a language tag with the name that a model has for the language: "zh-Hans" of "cmn-Hans"; None if the model
    does not know it.

    Args:
        tag: the requested language.
        languages: the model's.
    """
    primary, hyphen, rest = fold_tag(tag).partition("-")
    known = [fold_tag(language) for language in languages]
    found = primary if primary in known else nearest_tag(primary, known)
    if found is None or "-" in found:
        return found
    return canonical_case(found + hyphen + rest)
