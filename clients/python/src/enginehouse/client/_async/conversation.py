"""Speech of a text that is still being written, with asyncio: the caller sends text and iterates over audio at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Self, Unpack

import grpc

from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.client._async.bidi_call import BidiCall
from enginehouse.client._async.streams import AudioStream
from enginehouse.client._async.transport import AsyncTransport
from enginehouse.client._connection import new_request_id
from enginehouse.client.errors import BudgetExhausted, from_rpc_error
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.requests.voice import SpeechOptions
from enginehouse.client.retries import Attempts
from enginehouse.client.speech import ConversationEvent, SpeechCall


class AsyncConversationStream(AudioStream[ConversationEvent]):
    """A conversation, in an `async with` block: `send` text as it is written, and iterate over the events, once.

    One task may send while another iterates. A task that does both must not send much between two events. Leaving the
    block cancels a conversation that has not ended. Every method raises EnginehouseError.
    """

    def __init__(self, state: SpeechCall, send: Callable[[], Any], *, config: voice_pb2.ConverseRequest) -> None:
        super().__init__(state, send, first=config)
        self._writing = asyncio.Lock()
        self._first_event: ConversationEvent | None = None
        self._ended = False

    async def send(self, text: str) -> None:
        """Add text: a token, a word, a page. Raise BudgetExhausted if the budget has ended the conversation."""
        if text:
            await self._write(voice_pb2.ConverseRequest(text=text))

    async def flush(self) -> None:
        """Speak the text sent so far, even if its sentence is not complete."""
        await self._write(voice_pb2.ConverseRequest(flush=True))

    async def interrupt(self) -> None:
        """Drop all text and audio that has not been sent. An event with `interrupted` confirms it."""
        await self._write(voice_pb2.ConverseRequest(interrupt=True))

    async def end(self) -> None:
        """End the text. The rest of it is spoken, and then the iteration ends."""
        async with self._writing:
            await self._started().done_writing()
            self._ended = True

    async def __aenter__(self) -> Self:
        if self._first_event is not None:
            raise ValueError("the conversation was started before: start a new one")
        try:
            # Before the first response, only the configuration was sent, which may be sent again.
            self._first_event = self._event(await anext(self._messages))
        except BaseException:
            await self.close()
            raise
        return self

    async def _run(self) -> AsyncGenerator[ConversationEvent, None]:
        self._started()
        async with aclosing(self._messages) as messages:
            event = self._first_event
            while True:
                if event is not None and (event.audio or event.done or event.interrupted):
                    yield event
                message = await anext(messages, None)
                if message is None:
                    return
                event = self._event(message)

    def _event(self, message: voice_pb2.ConverseResponse) -> ConversationEvent:
        self._speech.add(message)
        return ConversationEvent(audio=message.audio, done=tuple(message.done), interrupted=message.interrupted)

    def _started(self) -> BidiCall:
        if self._first_event is None:
            raise ValueError("the conversation was not started: use it in an `async with` block")
        call: BidiCall = self._call
        return call

    async def _write(self, message: voice_pb2.ConverseRequest) -> None:
        async with self._writing:
            call = self._started()
            if self._ended:
                raise ValueError("the conversation was ended with end(): start a new one")
            if await call.write(message):
                return
            if call.error is not None:
                raise from_rpc_error(call.error, request_id=self.request_id) from call.error
            raise BudgetExhausted(
                "the conversation ended before this text: its reservation is used up",
                code=grpc.StatusCode.RESOURCE_EXHAUSTED,
                reason="BUDGET_EXHAUSTED",
                request_id=self.request_id,
            )


class AsyncConversationMixin:
    """The method of `AsyncEnginehouse` for conversations."""

    def __init__(self, *, transport: AsyncTransport) -> None:
        self._transport = transport
        self._voice = voice_pb2_grpc.VoiceServiceStub(transport.channel)

    def converse(
        self,
        *,
        max_characters: int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> AsyncConversationStream:
        """Speak text while it is being written: in an `async with` block, `send` text and iterate over the audio.

        Args:
            max_characters: the number of characters to reserve money for; None reserves for 20,000.
            timeout_s: seconds for the whole conversation; None for no bound.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.
            options: see `SpeechOptions`. The encoding is "pcm" (the default) or "opus".

        Raises:
            ValueError: an option has an unknown value.
        """
        request_id = request_id or new_request_id()
        config = voice_requests.conversation(request_id=request_id, **options)
        routing = voice_requests.routing_metadata(
            model=options.get("model", ""),
            language=options.get("language", ""),
            voice=options.get("voice", ""),
            max_characters=max_characters,
        )
        # Without a timeout of its own, the call has none: it lasts as long as text comes.
        attempts = Attempts(self._transport.retries, timeout_s=timeout_s)
        state = SpeechCall(request_id=request_id, attempts=attempts, first_chunk=None)

        def send() -> Any:
            metadata = self._transport.metadata(request_id, attempt=state.attempt) + routing
            return self._voice.Converse(metadata=metadata, timeout=state.remaining_s)

        return AsyncConversationStream(state, send, config=config)
