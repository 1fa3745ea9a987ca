"""What comes of a call that speaks: the audio's form, the chunks that are whole, and the summary."""

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
    """The end of a call that spoke.

    Attributes:
        usage: amounts by unit, such as `{"characters": 40, "audio_milliseconds": 2150}`.
        cost_nanos: the charge in nano-dollars.
        time_to_first_audio_ms: as the engine measured it.
        total_ms: as the engine measured it.
        audio_ms: how long the audio is.
        stopped_by_budget: whether the money ended it before the text did.
    """

    usage: Mapping[str, int]
    cost_nanos: int
    time_to_first_audio_ms: int
    total_ms: int
    audio_ms: int
    stopped_by_budget: bool

    @classmethod
    def of(cls, summary: voice_pb2.SpeechSummary) -> SpeechSummary:
        """From the contract's message."""
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
    """What came next in a conversation.

    Attributes:
        audio: the next bytes; may be empty.
        done: the chunks of the text whose audio is whole with this piece.
        interrupted: whether everything before it that was not sent is dropped, as an `interrupt` asked for: a player
            drops what it has not played.
    """

    audio: bytes
    done: tuple[voice_pb2.ChunkDone, ...]
    interrupted: bool


class SpeechCall:
    """Follows one call that speaks.

    Args:
        request_id: what the call was sent under.
        attempts: how often it may be sent, and until when.
        first_chunk: where it begins; None for a conversation, which cannot be begun in its middle.
    """

    def __init__(self, *, request_id: str, attempts: Attempts, first_chunk: int | None) -> None:
        self.request_id = request_id
        self.model = ""
        """The model that speaks; empty until the first message."""
        self.info: voice_pb2.AudioInfo | None = None
        """The audio's form; None until the first message."""
        self.done: list[voice_pb2.ChunkDone] = []
        """The chunks whose audio is whole, in order."""
        self.summary: SpeechSummary | None = None
        """The end; None until it has come."""
        self.attempt = 1
        """The number of the attempt that runs, or is about to."""
        self._first_chunk = first_chunk
        self._attempts = attempts
        self._begun = False

    @property
    def next_chunk(self) -> int:
        """The first chunk whose audio is not whole yet."""
        return self.done[-1].chunk + 1 if self.done else self._first_chunk or 0

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for the next attempt; None for no bound."""
        return self._attempts.remaining_s

    def take(self, message: voice_pb2.SynthesizeResponse | voice_pb2.ConverseResponse) -> None:
        """Takes the next message."""
        self._begun = True
        self.request_id = message.request_id or self.request_id
        self.model = message.model or self.model
        if message.HasField("info"):
            self.info = message.info
        self.done.extend(message.done)
        if message.HasField("summary"):
            self.summary = SpeechSummary.of(message.summary)

    def delay_after(self, error: EnginehouseError, *, closed: bool) -> float:
        """Seconds to wait before the call is sent again, after an attempt that failed.

        Args:
            error: how it failed.
            closed: whether the caller has ended the call.

        Raises:
            IncompleteSpeechError: the audio had begun, and can be begun where it was cut.
            EnginehouseError: the error itself, in all other cases.
        """
        if self._begun and self._first_chunk is not None and not closed and was_cut(error):
            raise IncompleteSpeechError.after(error, next_chunk=self.next_chunk, model=self.model) from error
        delay = None if closed or self._begun else self._attempts.delay_before_next(error)
        if delay is None:
            raise error
        self.attempt += 1
        return delay
