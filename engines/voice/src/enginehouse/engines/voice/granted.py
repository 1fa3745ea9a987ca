"""What the parts of the engine are given: the call, and the model that serves it."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol, TypeAlias

from enginehouse.api.router.v1.grant_pb2 import Grant, GrantCandidate
from enginehouse.engines.voice.backends.base import LoadedVoiceModel, Recogniser, Speaker
from enginehouse.kit import loading
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.meter import Meter

ServedModel: TypeAlias = loading.ServedModel[LoadedVoiceModel]


class GrantedCall(Protocol):
    """What the engine needs of a call whose grant was accepted; the kit's `Call` has it."""

    @property
    def request_id(self) -> str:
        """The request's id."""

    @property
    def tenant_id(self) -> str:
        """Who pays."""

    @property
    def grant(self) -> Grant:
        """The permission."""

    @property
    def candidate(self) -> GrantCandidate | None:
        """The model that the grant chose among those served here, its prices and cap."""

    @property
    def meter(self) -> Meter:
        """Counts and prices what the call uses."""

    @property
    def first_output_ms(self) -> int:
        """Milliseconds from acceptance to the first output; 0 if there was none yet."""

    def fall_back(self, error: ServiceError, *, served: Container[str]) -> bool:
        """Takes the grant's next model instead of the one that failed, where that is possible; says whether it did."""

    def elapsed_ms(self) -> int:
        """Milliseconds since acceptance."""

    def mark_first_output(self) -> None:
        """Notes the time of the first output; later calls change nothing."""


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
