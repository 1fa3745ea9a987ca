"""Synthesize text while it is being written, with interruptions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.backends.base import Speaker
from enginehouse.engines.voice.capabilities import ServedVoiceModel, loaded_speaker, speaker_info
from enginehouse.engines.voice.synthesis.session import SynthesisSession, check_supported_controls
from enginehouse.engines.voice.synthesis.synthesizer import summary, text_controls
from enginehouse.engines.voice.text import Chunk, IncrementalText
from enginehouse.engines.voice.validation import MAX_CHARACTERS, check_converse
from enginehouse.engines.voice.voices.library import VoiceLibrary
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.tasks import BackgroundTask
from enginehouse.kit.validation import invalid


class ConversationSynthesizer:
    """Synthesizes the text of callers while they write it.

    Args:
        voices: the voices.
        ahead_s: the length of audio that is sent ahead of its playback, in seconds.
        idle_s: the time that a caller may write nothing, in seconds.
    """

    def __init__(self, *, voices: VoiceLibrary, ahead_s: float, idle_s: float) -> None:
        self._voices = voices
        self._ahead_s = ahead_s
        self._idle_s = idle_s

    async def converse(
        self, requests: AsyncIterator[voice_pb2.ConverseRequest], call: GrantedCall, served: ServedVoiceModel
    ) -> AsyncGenerator[voice_pb2.ConverseResponse, None]:
        """Yield the messages of one conversation; the last one has a summary. Raises ServiceError."""
        info, model = speaker_info(served), served.catalog.name
        config = await self._first(requests)
        check_converse(config)
        check_supported_controls(info, config.controls, model=model)
        controls = text_controls(config.controls, info, voices=self._voices, model=model, tenant_id=call.tenant_id)
        session = SynthesisSession(
            info=info,
            form=config.audio,
            live=True,
            clone_of=lambda voice: self._voices.clone(voice, model=model, tenant_id=call.tenant_id),
            call=call,
        )
        async with served.use() as loaded:
            # Sent at once, without any audio yet: the edge ends a request that has no answer within a minute.
            yield voice_pb2.ConverseResponse(request_id=call.request_id, model=model, info=session.info)
            inbox = _Inbox(IncrementalText(controls=controls))
            reading = BackgroundTask(lambda: self._read(requests, inbox), name="converse-read")
            reading.start()
            speaking = self._speak(inbox, session, call, loaded_speaker(loaded))
            try:
                async with served.slots.hold(), aclosing(speaking) as responses:
                    async for response in responses:
                        yield response
            finally:
                await reading.close()
        yield voice_pb2.ConverseResponse(audio=session.finish(), summary=summary(call, session))

    async def _speak(
        self, inbox: _Inbox, session: SynthesisSession, call: GrantedCall, speaker: Speaker
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
            async with aclosing(session.speak(number, chunk, speaker=speaker)) as outputs:
                async for output in outputs:
                    await pace.wait(session.audio_ms, inbox)
                    if inbox.interrupted:
                        session.discard_pending()
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
                        Reason.DEADLINE_EXCEEDED, f"no message for {self._idle_s:g} s; begin another call"
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
    """The text of a caller that is not synthesized yet."""

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
        """True while an interrupt of the caller is unanswered."""
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
            raise invalid("text", f"exceeds {MAX_CHARACTERS} characters in one conversation; begin another call")
        for place, character in enumerate(text):
            if character < " " and character not in "\n\r\t":
                raise invalid("text", f"has the control character U+{ord(character):04X} at {place}; leave it out")
        self._chunks += self._text.feed(text)

    def end(self) -> None:
        """Mark the end of the caller's text."""
        self._chunks += self._text.flush()
        self._ended = True
        self._changed.set()

    def fail(self, error: ServiceError) -> None:
        """Fail the reader of the inbox with an error of the caller."""
        self._error = error
        self._changed.set()

    def take_interrupt(self) -> bool:
        """Take an unanswered interrupt; return whether there was one."""
        if not self._interrupts:
            return False
        self._interrupts -= 1
        return True

    async def next(self) -> Chunk | None:
        """Return the next chunk; None at the end, and at an interrupt. Raises the caller's error."""
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
        """Wait for so long, or until an interrupt or an error."""
        until = time.monotonic() + seconds
        while not self._interrupts and self._error is None and (left := until - time.monotonic()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()


class _Pace:
    """Holds back audio that would be played much later: it may still be interrupted, and then costs nothing."""

    def __init__(self, *, ahead_s: float) -> None:
        self._ahead_s = ahead_s
        # The time at which the sent audio will have been played, if the caller plays it as it comes.
        self._played_at = 0.0
        self._sent_ms = 0

    async def wait(self, audio_ms: int, inbox: _Inbox) -> None:
        """Wait until so much audio may have been sent, or the caller interrupts."""
        now = time.monotonic()
        # Late audio is played from the time that it comes.
        self._played_at = max(self._played_at, now) + (audio_ms - self._sent_ms) / 1000
        self._sent_ms = audio_ms
        early = self._played_at - now - self._ahead_s
        if early > 0:
            await inbox.wait(early)

    def drop(self) -> None:
        """Reset after an interrupt: the caller has stopped playback."""
        self._played_at = 0.0
