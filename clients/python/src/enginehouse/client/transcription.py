"""What comes of a call that listens: what was said, and what happened while it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client.errors import EnginehouseError
from enginehouse.client.retries import Attempts
from enginehouse.client.usage import usage_by_unit

TranscriptionEventKind = Literal["started", "interim", "final", "ended"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A recording, written down.

    Attributes:
        request_id: the request's id.
        model: the model that listened.
        text: all of it; empty where nobody spoke.
        language: as a BCP 47 tag.
        duration_ms: how long the recording is.
        segments: its stretches in order, with their times, and their words where those were asked for.
        usage: amounts by unit, such as `{"audio_milliseconds": 2150}`.
        cost_nanos: the charge in nano-dollars.
        stopped_by_budget: whether the money ended it before the recording did.
    """

    request_id: str
    model: str
    text: str
    language: str
    duration_ms: int
    segments: tuple[voice_pb2.Segment, ...]
    usage: Mapping[str, int]
    cost_nanos: int
    stopped_by_budget: bool

    @classmethod
    def of(cls, response: voice_pb2.RecognizeResponse) -> Transcript:
        """From the contract's answer."""
        return cls(
            request_id=response.request_id,
            model=response.model,
            text=response.text,
            language=response.language,
            duration_ms=response.duration_ms,
            segments=tuple(response.segments),
            usage=usage_by_unit(response.usage),
            cost_nanos=response.usage.cost_nanos,
            stopped_by_budget=response.stopped_by_budget,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionEvent:
    """What was heard next.

    Attributes:
        kind: `started` and `ended` say that somebody began and ceased to speak; `interim` is an utterance as far as it
            is understood, `final` the whole of it.
        at_ms: when it happened, in milliseconds from the audio's first sample; of an utterance, when it ends.
        segment: the utterance; None for `started` and `ended`.
        language: the utterance's, as a BCP 47 tag.
    """

    kind: TranscriptionEventKind
    at_ms: int
    segment: voice_pb2.Segment | None = None
    language: str = ""

    @property
    def text(self) -> str:
        """The utterance's text; empty for `started` and `ended`."""
        return "" if self.segment is None else self.segment.text


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptionSummary:
    """The end of a call that listened.

    Attributes:
        usage: amounts by unit.
        cost_nanos: the charge in nano-dollars.
        audio_ms: how much audio was listened to.
        total_ms: as the engine measured it.
        stopped_by_budget: whether the money ended it before the audio did.
    """

    usage: Mapping[str, int]
    cost_nanos: int
    audio_ms: int
    total_ms: int
    stopped_by_budget: bool

    @classmethod
    def of(cls, summary: voice_pb2.RecognitionSummary) -> TranscriptionSummary:
        """From the contract's message."""
        return cls(
            usage=usage_by_unit(summary.usage),
            cost_nanos=summary.usage.cost_nanos,
            audio_ms=summary.audio_ms,
            total_ms=summary.total_ms,
            stopped_by_budget=summary.stopped_by_budget,
        )


class TranscriptionCall:
    """Follows one call that listens.

    Args:
        request_id: what the call was sent under.
        attempts: how often it may be sent, and until when.
    """

    def __init__(self, *, request_id: str, attempts: Attempts) -> None:
        self.request_id = request_id
        self.model = ""
        """The model that listens; empty until the first message."""
        self.summary: TranscriptionSummary | None = None
        """The end; None until it has come."""
        self.attempt = 1
        """The number of the attempt that runs, or is about to."""
        self._attempts = attempts
        self._begun = False

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for the next attempt; None for no bound."""
        return self._attempts.remaining_s

    def take(self, message: voice_pb2.StreamingRecognizeResponse) -> tuple[TranscriptionEvent, ...]:
        """Takes the next message; returns what was heard by it."""
        self._begun = True
        self.request_id = message.request_id or self.request_id
        self.model = message.model or self.model
        heard = []
        if message.HasField("summary"):
            self.summary = TranscriptionSummary.of(message.summary)
        if message.event == voice_pb2.SPEECH_EVENT_STARTED:
            heard.append(TranscriptionEvent(kind="started", at_ms=message.event_ms))
        if message.HasField("result"):
            result = message.result
            heard.append(
                TranscriptionEvent(
                    kind="final" if result.is_final else "interim",
                    at_ms=result.segment.end_ms,
                    segment=result.segment,
                    language=result.language,
                )
            )
        if message.event == voice_pb2.SPEECH_EVENT_ENDED:
            heard.append(TranscriptionEvent(kind="ended", at_ms=message.event_ms))
        return tuple(heard)

    def delay_after(self, error: EnginehouseError, *, closed: bool) -> float:
        """Seconds to wait before the call is sent again, after an attempt that failed.

        Args:
            error: how it failed; raised where the call must not be sent again.
            closed: whether the caller has ended the call.
        """
        delay = None if closed or self._begun else self._attempts.delay_before_next(error)
        if delay is None:
            raise error
        self.attempt += 1
        return delay
