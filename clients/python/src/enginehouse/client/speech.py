"""Results and state of a call that synthesizes speech: the audio's format, the finished chunks, and the summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client.errors import EnginehouseError, IncompleteSpeechError
from enginehouse.client.resumption import was_cut
from enginehouse.client.retries import Attempts
from enginehouse.client.usage import usage_by_unit


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SpeechSummary:
    """The end of a call that synthesized speech.

    Attributes:
        usage: amounts by unit, such as `{"characters": 40, "audio_milliseconds": 2150}`.
        cost_nanos: the charge in nano-dollars.
        time_to_first_audio_ms: as the engine measured it.
        total_ms: as the engine measured it.
        audio_ms: the length of the audio.
        stopped_by_budget: whether the budget ended it before the text did.
    """

    usage: Mapping[str, int]
    cost_nanos: int
    time_to_first_audio_ms: int
    total_ms: int
    audio_ms: int
    stopped_by_budget: bool

    @classmethod
    def of(cls, summary: voice_pb2.SpeechSummary) -> SpeechSummary:
        """Return the summary that a message holds."""
        return cls(
            usage=usage_by_unit(summary.usage),
            cost_nanos=summary.usage.cost_nanos,
            time_to_first_audio_ms=summary.time_to_first_audio_ms,
            total_ms=summary.total_ms,
            audio_ms=summary.audio_ms,
            stopped_by_budget=summary.stopped_by_budget,
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConversationEvent:
    """The next event of a conversation.

    Attributes:
        audio: the next bytes; may be empty.
        done: the chunks of the text whose audio is complete with this event.
        interrupted: whether all earlier audio that was not sent is dropped, as an `interrupt` asked for. A player then
            drops the audio that it has not played.
    """

    audio: bytes
    done: tuple[voice_pb2.ChunkDone, ...]
    interrupted: bool


class SpeechCall:
    """The state of one call that synthesizes speech, over all its attempts.

    Args:
        request_id: the id that the call is sent under.
        attempts: the retries that are left, and the deadline.
        first_chunk: the first chunk that is asked for; None for a conversation, which cannot be started in its middle.
    """

    def __init__(self, *, request_id: str, attempts: Attempts, first_chunk: int | None) -> None:
        self.request_id = request_id
        self.model = ""
        """The model that speaks; empty until the first message."""
        self.info: voice_pb2.AudioInfo | None = None
        """The audio's format; None until the first message."""
        self.done: list[voice_pb2.ChunkDone] = []
        """The chunks whose audio is complete, in order."""
        self.summary: SpeechSummary | None = None
        """The end; None until it has come."""
        self.attempt = 1
        """The number of the attempt that runs or comes next."""
        self._first_chunk = first_chunk
        self._attempts = attempts
        self._begun = False

    @property
    def next_chunk(self) -> int:
        """The first chunk whose audio is not complete yet."""
        return self.done[-1].chunk + 1 if self.done else self._first_chunk or 0

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for the next attempt; None for no bound."""
        return self._attempts.remaining_s

    def add(self, message: voice_pb2.SynthesizeResponse | voice_pb2.ConverseResponse) -> None:
        """Add the next message."""
        self._begun = True
        self.request_id = message.request_id or self.request_id
        self.model = message.model or self.model
        if message.HasField("info"):
            self.info = message.info
        self.done.extend(message.done)
        if message.HasField("summary"):
            self.summary = SpeechSummary.of(message.summary)

    def delay_after(self, error: EnginehouseError, *, closed: bool) -> float:
        """Return the seconds to wait before the next attempt, after one that failed.

        Args:
            error: the failure.
            closed: whether the caller has closed the call.

        Raises:
            IncompleteSpeechError: the audio had begun, and a new request can start where it was cut.
            EnginehouseError: the error itself, in all other cases.
        """
        if self._begun and self._first_chunk is not None and not closed and was_cut(error):
            raise IncompleteSpeechError.after(error, next_chunk=self.next_chunk, model=self.model) from error
        delay = None if closed or self._begun else self._attempts.delay_before_next(error)
        if delay is None:
            raise error
        self.attempt += 1
        return delay
