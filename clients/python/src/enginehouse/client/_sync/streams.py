"""Streams of speech and of transcription events, as a synchronous caller iterates over them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import grpc

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client._sync.request_stream import RequestStream
from enginehouse.client.atomic_file import AtomicFile
from enginehouse.client.errors import from_rpc_error
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.speech import SpeechCall, SpeechSummary
from enginehouse.client.transcription import TranscriptionCall, TranscriptionEvent, TranscriptionSummary
from enginehouse.client.wav import with_true_length

Item = TypeVar("Item")

AudioSource: TypeAlias = Iterable[bytes]
"""Audio, piece by piece."""


class VoiceStream(Generic[Item]):
    """One call, whose items are iterated over once.

    Args:
        state: the state of the call.
        send: a function that sends the request once.
    """

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
        """The model that serves the call; empty until the first message."""
        return self._state.model

    @property
    def attempts(self) -> int:
        """The number of times the request was sent."""
        return self._state.attempt

    def __iter__(self) -> Iterator[Item]:
        """Return the iterator over the items that are not taken yet."""
        return self._items

    def close(self) -> None:
        """End the call, if it has not ended. Output sent until then is billed."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, message: Any) -> Iterable[Item]:
        raise NotImplementedError

    def _run(self) -> Iterator[Item]:
        if self._closed:
            raise ValueError("the call was closed before it was started: start a new one")
        while True:
            self._call = self._send()
            try:
                for message in self._call:
                    yield from self._add(message)
                return
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, request_id=self.request_id)
                error.__cause__ = raised
                if self._state.summary is not None:
                    return
            time.sleep(self._state.delay_after(error, closed=self._closed))


class AudioStream(VoiceStream[bytes]):
    """A call that synthesizes speech."""

    def __init__(self, state: SpeechCall, send: Callable[[], Any]) -> None:
        super().__init__(state, send)
        self._speech = state

    @property
    def info(self) -> voice_pb2.AudioInfo | None:
        """The audio's format; None until the first message."""
        return self._speech.info

    @property
    def done(self) -> tuple[voice_pb2.ChunkDone, ...]:
        """The chunks of the text whose audio is complete, in order."""
        return tuple(self._speech.done)

    @property
    def summary(self) -> SpeechSummary | None:
        """The call's usage and cost; None until the end has come."""
        return self._speech.summary

    def read(self) -> bytes:
        """Return all the remaining audio as a file, with the true length in a WAV header. Raise as iterating does."""
        return with_true_length(b"".join(self))

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the remaining audio to a file, which appears only when it is complete. Return its size in bytes.

        Raises:
            OSError: the file cannot be written; nothing is sent if it cannot be created.
            EnginehouseError: as iterating does.
        """
        with AtomicFile(path) as file:
            for piece in self:
                file.write(piece)
        return file.size

    def _add(self, message: Any) -> Iterable[bytes]:
        self._speech.add(message)
        if message.audio:
            yield message.audio


class SpeechStream(AudioStream):
    """Audio as it is synthesized: iterate over its bytes, once, or `read` or `save` them.

    Leaving the `with` block or calling `close()` before the end cancels the request; output sent until then is billed.
    Iterating raises EnginehouseError, and IncompleteSpeechError if the audio was cut after its beginning.
    """

    @property
    def next_chunk(self) -> int:
        """The first chunk whose audio is not complete yet."""
        return self._speech.next_chunk


class TranscriptionStream(VoiceStream[TranscriptionEvent]):
    """The events of a live transcription: iterate over them, once.

    A thread of its own takes the audio once a server has answered, and never twice. Leaving the `with` block or calling
    `close()` before the end cancels the call. Iterating raises EnginehouseError, and any error of the audio.
    """

    def __init__(
        self,
        state: TranscriptionCall,
        send: Callable[[Iterator[voice_pb2.StreamingRecognizeRequest]], Any],
        *,
        config: voice_pb2.StreamingRecognizeRequest,
        audio: AudioSource,
    ) -> None:
        rest = (message for piece in audio for message in voice_requests.audio_messages(piece))
        self._requests = RequestStream(config, rest, cancel=self.close)
        super().__init__(state, lambda: send(self._requests.next_attempt()))
        self._transcription = state

    @property
    def summary(self) -> TranscriptionSummary | None:
        """The call's usage and cost; None until the end has come."""
        return self._transcription.summary

    def _add(self, message: Any) -> Iterable[TranscriptionEvent]:
        self._requests.release()
        return self._transcription.add(message)

    def _run(self) -> Iterator[TranscriptionEvent]:
        return self._requests.raising_errors(super()._run())
