"""Calls that speak and listen, as the asyncio caller iterates over them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client._aio_bidi_call import BidiCall
from enginehouse.client.atomic_file import AtomicFile
from enginehouse.client.errors import BudgetExhausted, Cancelled, from_rpc_error
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.speech import ConversationEvent, SpeechCall, SpeechSummary
from enginehouse.client.transcription import TranscriptionCall, TranscriptionEvent, TranscriptionSummary
from enginehouse.client.wav import with_true_length

Item = TypeVar("Item")


class _Stream(Generic[Item]):
    """One call, whose answers are iterated over once.

    Args:
        state: follows it.
        send: sends the request once.
        first: the first message, where the caller sends more than one.
    """

    def __init__(self, state: SpeechCall | TranscriptionCall, send: Callable[[], Any], *, first: Any = None) -> None:
        self._state = state
        self._send = send
        self._first = first
        self._call: Any = None
        self._closed = False
        # What ended the call on this side, where something did.
        self._error: BaseException | None = None
        self._messages = self._receive()
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

    def __aiter__(self) -> AsyncIterator[Item]:
        """What has not been taken yet."""
        return self._items

    async def close(self) -> None:
        """Ends the call, if it has not ended; what had been sent until then is billed."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()
        for generator in (self._items, self._messages):
            # Running, it is iterated over in another task, which sees the end there.
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
            raise ValueError("the call was closed before it was begun; make another one")
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
        return Cancelled("the call was ended on this side", code=grpc.StatusCode.CANCELLED, request_id=self.request_id)


class _AudioStream(_Stream[Item]):
    """A call that speaks."""

    def __init__(self, spoken: SpeechCall, send: Callable[[], Any], *, first: Any = None) -> None:
        super().__init__(spoken, send, first=first)
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


class AsyncSpeechStream(_AudioStream[bytes]):
    """Audio as it is made: iterate over its bytes, once, or `read` or `save` them.

    Leaving the `async with` block, or `close()`, before the end cancels the request; what had been sent until then is
    billed. Iterating raises EnginehouseError; IncompleteSpeechError where the audio was cut after its beginning.
    """

    @property
    def next_chunk(self) -> int:
        """The first chunk whose audio is not whole yet."""
        return self._spoken.next_chunk

    async def read(self) -> bytes:
        """All the audio that is still to come, as a whole file: a WAV header says its true length. Raises as iterating
        does.
        """
        return with_true_length(b"".join([piece async for piece in self]))

    async def save(self, path: str | os.PathLike[str]) -> int:
        """Writes the audio that is still to come to a file, which is there only when it is whole; returns its size.

        Raises:
            OSError: the file cannot be written; where none can be made, nothing is sent.
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
                self._spoken.take(message)
                if message.audio:
                    yield message.audio


class AsyncConversationStream(_AudioStream[ConversationEvent]):
    """A conversation, in an `async with` block: `send` text as it is written, and iterate over what is spoken, once.

    One task may send while another iterates; a task that does both must not send much in between. Leaving the block
    cancels what has not ended. Everything raises EnginehouseError.
    """

    def __init__(self, spoken: SpeechCall, send: Callable[[], Any], *, config: voice_pb2.ConverseRequest) -> None:
        super().__init__(spoken, send, first=config)
        self._writing = asyncio.Lock()
        self._answered: ConversationEvent | None = None
        self._ended = False

    async def send(self, text: str) -> None:
        """Adds text: a token, a word, a page. Raises BudgetExhausted where money has ended the conversation."""
        if text:
            await self._write(voice_pb2.ConverseRequest(text=text))

    async def flush(self) -> None:
        """Has spoken what there is now, though its sentence may not be whole."""
        await self._write(voice_pb2.ConverseRequest(flush=True))

    async def interrupt(self) -> None:
        """Drops all text and audio that has not been sent; a piece with `interrupted` says that it is done."""
        await self._write(voice_pb2.ConverseRequest(interrupt=True))

    async def end(self) -> None:
        """Says that no more text comes: what there is is spoken, and the iteration ends."""
        async with self._writing:
            await self._begun().done_writing()
            self._ended = True

    async def __aenter__(self) -> Self:
        if self._answered is not None:
            raise ValueError("the conversation has begun already")
        try:
            # Until somebody answers there is nothing but the configuration, which may be sent again.
            self._answered = self._taken(await anext(self._messages))
        except BaseException:
            await self.close()
            raise
        return self

    async def _run(self) -> AsyncGenerator[ConversationEvent, None]:
        self._begun()
        async with aclosing(self._messages) as messages:
            piece = self._answered
            while True:
                if piece is not None and (piece.audio or piece.done or piece.interrupted):
                    yield piece
                message = await anext(messages, None)
                if message is None:
                    return
                piece = self._taken(message)

    def _taken(self, message: voice_pb2.ConverseResponse) -> ConversationEvent:
        self._spoken.take(message)
        return ConversationEvent(audio=message.audio, done=tuple(message.done), interrupted=message.interrupted)

    def _begun(self) -> BidiCall:
        if self._answered is None:
            raise ValueError("the conversation has not begun: use it in an `async with` block")
        call: BidiCall = self._call
        return call

    async def _write(self, message: voice_pb2.ConverseRequest) -> None:
        async with self._writing:
            call = self._begun()
            if self._ended:
                raise ValueError("the conversation was ended with end(); begin another one")
            if await call.write(message):
                return
            if call.error is not None:
                raise from_rpc_error(call.error, request_id=self.request_id) from call.error
            raise BudgetExhausted(
                "the conversation ended before this text: what was reserved for it is used up",
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                reason="BUDGET_EXHAUSTED",
                request_id=self.request_id,
            )


class AsyncTranscriptionStream(_Stream[TranscriptionEvent]):
    """What is heard of audio while it is spoken: iterate over it, once.

    The audio is taken in a task of its own, once somebody is there to listen, and never twice. Leaving the `async with`
    block, or `close()`, before the end cancels the call. Iterating raises EnginehouseError, and what the audio raises.
    """

    def __init__(
        self,
        hearing: TranscriptionCall,
        send: Callable[[], Any],
        *,
        config: voice_pb2.StreamingRecognizeRequest,
        audio: AsyncIterable[bytes] | Iterable[bytes],
    ) -> None:
        super().__init__(hearing, send, first=config)
        self._hearing = hearing
        self._audio = audio

    @property
    def summary(self) -> TranscriptionSummary | None:
        """What it used and cost; None until the end has come."""
        return self._hearing.summary

    async def _run(self) -> AsyncGenerator[TranscriptionEvent, None]:
        writing: asyncio.Task[None] | None = None
        try:
            async with aclosing(self._messages) as messages:
                async for message in messages:
                    if writing is None:
                        writing = asyncio.create_task(self._write(), name="listen-write")
                    for heard in self._hearing.take(message):
                        yield heard
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    async def _write(self) -> None:
        try:
            async for piece in _each(self._audio):
                for message in voice_requests.audio_messages(piece):
                    if not await self._call.write(message):
                        # The call is over; who reads it learns why.
                        return
            await self._call.done_writing()
        except Exception as error:
            self._error = error
            self._call.cancel()


async def _each(audio: AsyncIterable[bytes] | Iterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(audio, AsyncIterable):
        async for piece in audio:
            yield piece
    else:
        for piece in audio:
            yield piece


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
