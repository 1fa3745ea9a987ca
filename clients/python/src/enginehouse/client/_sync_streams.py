"""Calls that speak and listen, as the synchronous caller iterates over them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client.atomic_file import AtomicFile
from enginehouse.client.errors import EnginehouseError, from_rpc_error
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.speech import SpeechCall, SpeechSummary
from enginehouse.client.transcription import TranscriptionCall, TranscriptionEvent, TranscriptionSummary
from enginehouse.client.wav import with_true_length

Item = TypeVar("Item")
Message = TypeVar("Message")


class _Stream(Generic[Item]):
    """One call, whose answers are iterated over once."""

    def __init__(self, state: SpeechCall | TranscriptionCall, send: Callable[[], Any]) -> None:
        self._state = state
        self._send = send
        self._call: Any = None
        self._closed = False
        self._items = self._run()

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self._state.request_id

    @property
    def model(self) -> str:
        """The model that serves it; empty until something has come."""
        return self._state.model

    @property
    def attempts(self) -> int:
        """How many times the request has been sent."""
        return self._state.attempt

    def __iter__(self) -> Iterator[Item]:
        """What has not been taken yet."""
        return self._items

    def close(self) -> None:
        """Ends the call, if it has not ended; what had been sent until then is billed."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, message: Any) -> Iterable[Item]:
        raise NotImplementedError

    def _run(self) -> Iterator[Item]:
        if self._closed:
            raise ValueError("the call was closed before it was begun; make another one")
        while True:
            self._call = self._send()
            try:
                for message in self._call:
                    yield from self._take(message)
                return
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, request_id=self.request_id)
                error.__cause__ = raised
                if self._state.summary is not None:
                    return
            time.sleep(self._state.delay_after(error, closed=self._closed))


class _AudioStream(_Stream[bytes]):
    """A call that speaks."""

    def __init__(self, spoken: SpeechCall, send: Callable[[], Any]) -> None:
        super().__init__(spoken, send)
        self._spoken = spoken

    @property
    def info(self) -> voice_pb2.AudioInfo | None:
        """The audio's form; None until something has come."""
        return self._spoken.info

    @property
    def done(self) -> tuple[voice_pb2.ChunkDone, ...]:
        """The chunks of the text whose audio is whole, in order."""
        return tuple(self._spoken.done)

    @property
    def summary(self) -> SpeechSummary | None:
        """What it used and cost; None until the end has come."""
        return self._spoken.summary

    def read(self) -> bytes:
        """All the audio that is still to come, as a whole file: a WAV header says its true length. Raises as iterating
        does.
        """
        return with_true_length(b"".join(self))

    def save(self, path: str | os.PathLike[str]) -> int:
        """Writes the audio that is still to come to a file, which is there only when it is whole; returns its size.

        Raises:
            OSError: the file cannot be written; where none can be made, nothing is sent.
            EnginehouseError: as iterating does.
        """
        with AtomicFile(path) as file:
            for piece in self:
                file.write(piece)
        return file.size

    def _take(self, message: Any) -> Iterable[bytes]:
        self._spoken.take(message)
        if message.audio:
            yield message.audio


class SpeechStream(_AudioStream):
    """Audio as it is made: iterate over its bytes, once, or `read` or `save` them.

    Leaving the `with` block, or `close()`, before the end cancels the request; what had been sent until then is billed.
    Iterating raises EnginehouseError; IncompleteSpeechError where the audio was cut after its beginning.
    """

    @property
    def next_chunk(self) -> int:
        """The first chunk whose audio is not whole yet."""
        return self._spoken.next_chunk


class ConversationStream(_AudioStream):
    """Audio of a text that is still being written: iterate over its bytes, once.

    The text is taken in a thread of its own, once somebody is there to speak it, and never twice. Leaving the `with`
    block, or `close()`, before the end cancels the call. Iterating raises EnginehouseError, and what the text raises.
    """

    def __init__(
        self,
        spoken: SpeechCall,
        send: Callable[[Iterator[voice_pb2.ConverseRequest]], Any],
        *,
        config: voice_pb2.ConverseRequest,
        texts: Iterable[str],
    ) -> None:
        rest = (voice_pb2.ConverseRequest(text=text) for text in texts if text)
        self._outgoing = _Outgoing(config, rest, cancel=self.close)
        super().__init__(spoken, lambda: send(self._outgoing.messages()))

    def _take(self, message: Any) -> Iterable[bytes]:
        self._outgoing.go_on()
        return super()._take(message)

    def _run(self) -> Iterator[bytes]:
        return self._outgoing.along(super()._run())


class TranscriptionStream(_Stream[TranscriptionEvent]):
    """What is heard of audio while it is spoken: iterate over it, once.

    The audio is taken in a thread of its own, once somebody is there to listen, and never twice. Leaving the `with`
    block, or `close()`, before the end cancels the call. Iterating raises EnginehouseError, and what the audio raises.
    """

    def __init__(
        self,
        hearing: TranscriptionCall,
        send: Callable[[Iterator[voice_pb2.StreamingRecognizeRequest]], Any],
        *,
        config: voice_pb2.StreamingRecognizeRequest,
        audio: Iterable[bytes],
    ) -> None:
        rest = (message for piece in audio for message in voice_requests.audio_messages(piece))
        self._outgoing = _Outgoing(config, rest, cancel=self.close)
        super().__init__(hearing, lambda: send(self._outgoing.messages()))
        self._hearing = hearing

    @property
    def summary(self) -> TranscriptionSummary | None:
        """What it used and cost; None until the end has come."""
        return self._hearing.summary

    def _take(self, message: Any) -> Iterable[TranscriptionEvent]:
        self._outgoing.go_on()
        return self._hearing.take(message)

    def _run(self) -> Iterator[TranscriptionEvent]:
        return self._outgoing.along(super()._run())


class _Gate:
    """Where the messages of one attempt wait until somebody answers."""

    def __init__(self) -> None:
        self.settled = threading.Event()
        self.stopped = False


class _Outgoing(Generic[Message]):
    """What a caller sends: a first message, and the rest once somebody has answered to it.

    So a call that nobody took is sent again and nothing is lost. gRPC takes the messages in a thread of its own.

    Args:
        first: the first message.
        rest: what follows.
        cancel: ends the call, where the rest raises an exception.
    """

    def __init__(self, first: Message, rest: Iterator[Message], *, cancel: Callable[[], None]) -> None:
        self._first = first
        self._rest = rest
        self._cancel = cancel
        self._gate = _Gate()
        self._error: BaseException | None = None

    def messages(self) -> Iterator[Message]:
        """The messages of the next attempt; those of the attempts before end."""
        self._stop()
        self._gate = _Gate()
        return self._run(self._gate)

    def go_on(self) -> None:
        """Somebody has answered: the rest may be sent."""
        self._gate.settled.set()

    def along(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items of the call; ends the messages with them, and raises what the rest raised."""
        try:
            yield from items
        except EnginehouseError:
            if self._error is None:
                raise
        finally:
            self._stop()
        if self._error is not None:
            raise self._error

    def _stop(self) -> None:
        self._gate.stopped = True
        self._gate.settled.set()

    def _run(self, gate: _Gate) -> Iterator[Message]:
        yield self._first
        gate.settled.wait()
        while not gate.stopped:
            try:
                message = next(self._rest, None)
            except BaseException as error:
                # gRPC would log it and say that the iterator failed; the caller is told what happened itself.
                self._error = error
                self._cancel()
                return
            if message is None:
                return
            yield message
