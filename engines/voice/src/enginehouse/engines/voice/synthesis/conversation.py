"""Text spoken while it is being written, and broken off when somebody speaks in between."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.capabilities import ServedModel, speaker_of
from enginehouse.engines.voice.synthesis.session import SynthesisSession, check_supported_controls
from enginehouse.engines.voice.synthesis.synthesizer import summary, text_controls
from enginehouse.engines.voice.text import Chunk, IncrementalText
from enginehouse.engines.voice.validation import MAX_CHARACTERS, check_converse
from enginehouse.engines.voice.voices.library import VoiceLibrary, is_clone
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid


class ConversationSynthesizer:
    """Speaks what callers write, as they write it.

    Args:
        voices: knows the voices.
        ahead_s: how far audio is sent ahead of its playing, in seconds.
        idle_s: how long a caller may write nothing, in seconds.
    """

    def __init__(self, *, voices: VoiceLibrary, ahead_s: float, idle_s: float) -> None:
        self._voices = voices
        self._ahead_s = ahead_s
        self._idle_s = idle_s

    async def converse(
        self, requests: AsyncIterator[voice_pb2.ConverseRequest], call: GrantedCall, served: ServedModel
    ) -> AsyncGenerator[voice_pb2.ConverseResponse, None]:
        """Yield the messages of one conversation; the last has a summary. Raises ServiceError."""
        speaker, model = speaker_of(served), served.catalog.name
        config = await self._first(requests)
        check_converse(config)
        check_supported_controls(speaker, config.controls, model=model)
        controls = text_controls(config.controls, speaker, voices=self._voices, model=model)
        session = SynthesisSession(
            speaker=speaker,
            form=config.audio,
            live=True,
            clone_of=lambda voice: self._voices.clone(voice, model=model, tenant_id=call.tenant_id),
            meter=call.meter,
        )
        if is_clone(controls.voice):
            self._voices.clone(controls.voice, model=model, tenant_id=call.tenant_id)
        # At once, though there is no audio yet: the edge gives a request that has no answer a minute.
        yield voice_pb2.ConverseResponse(request_id=call.request_id, model=model, info=session.info)
        inbox = _Inbox(IncrementalText(controls=controls))
        reading = asyncio.create_task(self._read(requests, inbox), name="converse-read")
        try:
            async with served.slots.hold(), aclosing(self._speak(inbox, session, call)) as responses:
                async for response in responses:
                    yield response
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        yield voice_pb2.ConverseResponse(audio=session.finish(), summary=summary(call, session))

    async def _speak(
        self, inbox: _Inbox, session: SynthesisSession, call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.ConverseResponse, None]:
        pace = _Pace(ahead_s=self._ahead_s)
        number = 0
        while not session.capped:
            if inbox.take_interrupt():
                pace.drop()
                yield voice_pb2.ConverseResponse(interrupted=True)
                continue
            chunk = await inbox.next()
            if chunk is None:
                if inbox.interrupted:
                    continue
                return
            async with aclosing(session.speak(number, chunk)) as outputs:
                async for output in outputs:
                    await pace.wait(session.audio_ms, inbox)
                    if inbox.interrupted:
                        session.drop()
                        break
                    done = [] if output.done is None else [output.done]
                    if output.audio or done:
                        call.mark_first_output()
                        yield voice_pb2.ConverseResponse(audio=output.audio, done=done)
            number += 1

    async def _read(self, requests: AsyncIterator[voice_pb2.ConverseRequest], inbox: _Inbox) -> None:
        try:
            while True:
                try:
                    async with asyncio.timeout(self._idle_s):
                        request = await anext(requests)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise ServiceError(
                        Reason.DEADLINE_EXCEEDED, f"nothing was written for {self._idle_s:g} s; begin another call"
                    ) from None
                inbox.take(request)
        except ServiceError as error:
            inbox.fail(error)
        else:
            inbox.end()

    async def _first(self, requests: AsyncIterator[voice_pb2.ConverseRequest]) -> voice_pb2.ConverseConfig:
        try:
            async with asyncio.timeout(self._idle_s):
                request = await anext(requests)
        except (StopAsyncIteration, TimeoutError):
            request = voice_pb2.ConverseRequest()
        if request.WhichOneof("message") != "config":
            raise invalid("config", "must be the first message of a conversation")
        return request.config


class _Inbox:
    """What a caller has written and has not been spoken yet."""

    def __init__(self, text: IncrementalText) -> None:
        self._text = text
        self._chunks: deque[Chunk] = deque()
        self._interrupts = 0
        self._ended = False
        self._error: ServiceError | None = None
        self._changed = asyncio.Event()
        self._written = 0

    @property
    def interrupted(self) -> bool:
        """Return whether the caller has interrupted and has not been told yet that it took effect."""
        return self._interrupts > 0

    def take(self, request: voice_pb2.ConverseRequest) -> None:
        """Take a message. Raises INVALID_REQUEST."""
        kind = request.WhichOneof("message")
        if kind == "text":
            self._take_text(request.text)
        elif kind == "flush":
            self._chunks += self._text.flush()
        elif kind == "interrupt":
            self._text.drop()
            self._chunks.clear()
            self._interrupts += 1
        else:
            raise invalid("message", "after the first message, send text, flush or interrupt")
        self._changed.set()

    def _take_text(self, text: str) -> None:
        self._written += len(text)
        if self._written > MAX_CHARACTERS:
            raise invalid("text", f"one conversation takes at most {MAX_CHARACTERS} characters; begin another call")
        for place, character in enumerate(text):
            if character < " " and character not in "\n\r\t":
                raise invalid("text", f"has the control character U+{ord(character):04X} at {place}; leave it out")
        self._chunks += self._text.feed(text)

    def end(self) -> None:
        """The caller writes no more."""
        self._chunks += self._text.flush()
        self._ended = True
        self._changed.set()

    def fail(self, error: ServiceError) -> None:
        """The caller wrote what cannot be."""
        self._error = error
        self._changed.set()

    def take_interrupt(self) -> bool:
        """Return whether there was an interrupt to be answered; each is answered once."""
        if not self._interrupts:
            return False
        self._interrupts -= 1
        return True

    async def next(self) -> Chunk | None:
        """What is to be spoken next; None at the end, and at an interrupt. Raises what the reader met."""
        while True:
            if self._error is not None:
                raise self._error
            if self._interrupts:
                return None
            if self._chunks:
                return self._chunks.popleft()
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()

    async def wait(self, seconds: float) -> None:
        """Wait for so long, or until something comes that breaks off what is spoken."""
        until = time.monotonic() + seconds
        while not self._interrupts and self._error is None and (left := until - time.monotonic()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()


class _Pace:
    """Holds audio back that would be played much later: it could still be interrupted, and then costs nothing."""

    def __init__(self, *, ahead_s: float) -> None:
        self._ahead_s = ahead_s
        # When what was sent will have been played, if the caller plays it as it comes.
        self._played_at = 0.0
        self._sent_ms = 0

    async def wait(self, audio_ms: int, inbox: _Inbox) -> None:
        """Wait until so much audio may have been sent, or the caller interrupts."""
        now = time.monotonic()
        # Audio that comes late is played from when it comes.
        self._played_at = max(self._played_at, now) + (audio_ms - self._sent_ms) / 1000
        self._sent_ms = audio_ms
        early = self._played_at - now - self._ahead_s
        if early > 0:
            await inbox.wait(early)

    def drop(self) -> None:
        """The caller plays nothing any more."""
        self._played_at = 0.0
