"""Streams of speech and of transcription events, as an asyncio caller iterates over them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import grpc

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client._async.bidi_call import BidiCall
from enginehouse.client.atomic_file import AtomicFile
from enginehouse.client.errors import Cancelled, from_rpc_error
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.speech import SpeechCall, SpeechSummary
from enginehouse.client.transcription import TranscriptionCall, TranscriptionEvent, TranscriptionSummary
from enginehouse.client.wav import with_true_length

Item = TypeVar("Item")

AudioSource: TypeAlias = AsyncIterable[bytes] | Iterable[bytes]
"""Audio, piece by piece."""


class VoiceStream(Generic[Item]):
    """One call, whose items are iterated over once.

    Args:
        state: the state of the call.
        send: a function that sends the request once.
        first: the first message, if the caller sends more than one.
    """

    def __init__(self, state: SpeechCall | TranscriptionCall, send: Callable[[], Any], *, first: Any = None) -> None:
        self._state = state
        self._send = send
        self._first = first
        self._call: Any = None
        self._closed = False
        # The error that ended the call on this side, if one did.
        self._error: BaseException | None = None
        self._messages = self._receive()
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

    def __aiter__(self) -> AsyncIterator[Item]:
        """Return the iterator over the items that are not taken yet."""
        return self._items

    async def close(self) -> None:
        """End the call, if it has not ended. Output sent until then is billed."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()
        for generator in (self._items, self._messages):
            # A running generator is iterated over by another task, which sees the end there.
            with contextlib.suppress(RuntimeError):
                await generator.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _run(self) -> AsyncGenerator[Item, None]:
        raise NotImplementedError

    async def _receive(self) -> AsyncGenerator[Any, None]:
        if self._closed:
            raise ValueError("the call was closed before it was started: start a new one")
        while True:
            self._call = self._send()
            try:
                if self._first is not None:
                    self._call = BidiCall(self._call)
                    await self._call.write(self._first)
                async for message in self._call:
                    yield message
                return
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, request_id=self.request_id)
                error.__cause__ = raised
                if self._state.summary is not None:
                    return
            except asyncio.CancelledError:
                if _is_cancelled() or not (self._closed or self._error):
                    raise
                raise self._error or self._cancelled() from None
            await asyncio.sleep(self._state.delay_after(error, closed=self._closed))

    def _cancelled(self) -> Cancelled:
        return Cancelled(
            "the call was closed by this client", code=grpc.StatusCode.CANCELLED, request_id=self.request_id
        )


class AudioStream(VoiceStream[Item]):
    """A call that synthesizes speech."""

    def __init__(self, state: SpeechCall, send: Callable[[], Any], *, first: Any = None) -> None:
        super().__init__(state, send, first=first)
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


class AsyncSpeechStream(AudioStream[bytes]):
    """Audio as it is synthesized: iterate over its bytes, once, or `read` or `save` them.

    Leaving the `async with` block or calling `close()` before the end cancels the request; output sent until then is
    billed. Iterating raises EnginehouseError, and IncompleteSpeechError if the audio was cut after its beginning.
    """

    @property
    def next_chunk(self) -> int:
        """The first chunk whose audio is not complete yet."""
        return self._speech.next_chunk

    async def read(self) -> bytes:
        """Return all the remaining audio as a file, with the true length in a WAV header. Raise as iterating does."""
        return with_true_length(b"".join([piece async for piece in self]))

    async def save(self, path: str | os.PathLike[str]) -> int:
        """Write the remaining audio to a file, which appears only when it is complete. Return its size in bytes.

        Raises:
            OSError: the file cannot be written; nothing is sent if it cannot be created.
            EnginehouseError: as iterating does.
        """
        file = AtomicFile(path)
        file.open()
        try:
            async for piece in self:
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.commit)
        finally:
            file.discard()
        return file.size

    async def _run(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._messages) as messages:
            async for message in messages:
                self._speech.add(message)
                if message.audio:
                    yield message.audio


class AsyncTranscriptionStream(VoiceStream[TranscriptionEvent]):
    """The events of a live transcription: iterate over them, once.

    A task of its own takes the audio once a server has answered, and never twice. Leaving the `async with` block or
    calling `close()` before the end cancels the call. Iterating raises EnginehouseError, and any error of the audio.
    """

    def __init__(
        self,
        state: TranscriptionCall,
        send: Callable[[], Any],
        *,
        config: voice_pb2.StreamingRecognizeRequest,
        audio: AudioSource,
    ) -> None:
        super().__init__(state, send, first=config)
        self._transcription = state
        self._audio = audio

    @property
    def summary(self) -> TranscriptionSummary | None:
        """The call's usage and cost; None until the end has come."""
        return self._transcription.summary

    async def _run(self) -> AsyncGenerator[TranscriptionEvent, None]:
        writing: asyncio.Task[None] | None = None
        try:
            async with aclosing(self._messages) as messages:
                async for message in messages:
                    if writing is None:
                        writing = asyncio.create_task(self._write(), name="listen-write")
                    for event in self._transcription.add(message):
                        yield event
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    async def _write(self) -> None:
        try:
            async for piece in _pieces(self._audio):
                for message in voice_requests.audio_messages(piece):
                    if not await self._call.write(message):
                        # The call has ended; the reader raises the reason.
                        return
            await self._call.done_writing()
        except Exception as error:
            self._error = error
            self._call.cancel()


async def _pieces(audio: AudioSource) -> AsyncIterator[bytes]:
    if isinstance(audio, AsyncIterable):
        async for piece in audio:
            yield piece
    else:
        for piece in audio:
            yield piece


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
