"""Results and state of a call that transcribes speech."""

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
    """The transcript of a recording.

    Attributes:
        request_id: the request's id.
        model: the model that transcribed it.
        text: the whole text; empty if nobody spoke.
        language: the spoken language as a BCP 47 tag.
        duration_ms: the length of the recording.
        segments: its segments in order, with their times, and their words if those were asked for.
        usage: amounts by unit, such as `{"audio_milliseconds": 2150}`.
        cost_nanos: the charge in nano-dollars.
        stopped_by_budget: whether the budget ended it before the recording did.
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
        """Return the transcript that a response holds."""
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
    """The next event of a live transcription.

    Attributes:
        kind: `started` when somebody starts to speak and `ended` when they stop; `interim` for an utterance as far as
            it is understood, `final` for the whole of it.
        at_ms: the time of the event in milliseconds from the audio's first sample; of an utterance, its end.
        segment: the utterance; None for `started` and `ended`.
        language: the utterance's language as a BCP 47 tag.
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
    """The end of a live transcription.

    Attributes:
        usage: amounts by unit.
        cost_nanos: the charge in nano-dollars.
        audio_ms: the length of the audio that was transcribed.
        total_ms: as the engine measured it.
        stopped_by_budget: whether the budget ended it before the audio did.
    """

    usage: Mapping[str, int]
    cost_nanos: int
    audio_ms: int
    total_ms: int
    stopped_by_budget: bool

    @classmethod
    def of(cls, summary: voice_pb2.RecognitionSummary) -> TranscriptionSummary:
        """Return the summary that a message holds."""
        return cls(
            usage=usage_by_unit(summary.usage),
            cost_nanos=summary.usage.cost_nanos,
            audio_ms=summary.audio_ms,
            total_ms=summary.total_ms,
            stopped_by_budget=summary.stopped_by_budget,
        )


class TranscriptionCall:
    """The state of one live transcription, over all its attempts.

    Args:
        request_id: the id that the call is sent under.
        attempts: the retries that are left, and the deadline.
    """

    def __init__(self, *, request_id: str, attempts: Attempts) -> None:
        self.request_id = request_id
        self.model = ""
        """The model that transcribes; empty until the first message."""
        self.summary: TranscriptionSummary | None = None
        """The end; None until it has come."""
        self.attempt = 1
        """The number of the attempt that runs or comes next."""
        self._attempts = attempts
        self._begun = False

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for the next attempt; None for no bound."""
        return self._attempts.remaining_s

    def add(self, message: voice_pb2.StreamingRecognizeResponse) -> tuple[TranscriptionEvent, ...]:
        """Add the next message, and return its events."""
        self._begun = True
        self.request_id = message.request_id or self.request_id
        self.model = message.model or self.model
        events = []
        if message.HasField("summary"):
            self.summary = TranscriptionSummary.of(message.summary)
        if message.event == voice_pb2.SPEECH_EVENT_STARTED:
            events.append(TranscriptionEvent(kind="started", at_ms=message.event_ms))
        if message.HasField("result"):
            result = message.result
            events.append(
                TranscriptionEvent(
                    kind="final" if result.is_final else "interim",
                    at_ms=result.segment.end_ms,
                    segment=result.segment,
                    language=result.language,
                )
            )
        if message.event == voice_pb2.SPEECH_EVENT_ENDED:
            events.append(TranscriptionEvent(kind="ended", at_ms=message.event_ms))
        return tuple(events)

    def delay_after(self, error: EnginehouseError, *, closed: bool) -> float:
        """Return the seconds to wait before the next attempt, after one that failed.

        Args:
            error: the failure; raised if the call must not be sent again.
            closed: whether the caller has closed the call.
        """
        delay = None if closed or self._begun else self._attempts.delay_before_next(error)
        if delay is None:
            raise error
        self.attempt += 1
        return delay
