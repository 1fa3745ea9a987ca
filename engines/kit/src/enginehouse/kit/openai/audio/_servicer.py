"""`openai.v1.AudioService` over a voice engine in the same process, as `TextServicer` over a text engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Generic, Protocol

import orjson
from google.api import httpbody_pb2

from enginehouse.api.openai.v1 import audio_pb2, audio_pb2_grpc
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai._edge import BodyPiece, CallT, CallT_contra, Context, HttpBodyEdge
from enginehouse.kit.openai.audio._speech import read_speech, speech_piece
from enginehouse.kit.openai.audio._transcription import TranscriptionAnswer, read_transcription

_GENDERS = {voice_pb2.GENDER_FEMALE: "female", voice_pb2.GENDER_MALE: "male", voice_pb2.GENDER_NEUTRAL: "neutral"}


class InProcessVoiceEngine(Protocol[CallT_contra]):
    """A voice engine in this process: `voice.v1.VoiceService` for calls whose grant was accepted already."""

    def synthesize(
        self, request: voice_pb2.SynthesizeRequest, call: CallT_contra
    ) -> AsyncGenerator[voice_pb2.SynthesizeResponse, None]:
        """Yield the messages of one synthesis, the last with a summary; raise ServiceError."""

    def recognize(
        self, request: voice_pb2.RecognizeRequest, call: CallT_contra
    ) -> AsyncGenerator[voice_pb2.RecognizeResponse, None]:
        """Yield segments as they are recognised, and last a message with the rest; raise ServiceError."""

    def list_voices(self, request: voice_pb2.ListVoicesRequest, call: CallT_contra) -> voice_pb2.ListVoicesResponse:
        """Return a page of voices; raise ServiceError."""


class AudioServicer(audio_pb2_grpc.AudioServiceServicer, Generic[CallT]):
    """The endpoints for speech, transcriptions, translations and the list of voices.

    Args:
        engine: does the work.
        accept: accepts the grant of a call that a model serves.
        accept_free: accepts the grant of a call that no model serves.
        max_body_bytes: larger request bodies are refused.
    """

    def __init__(
        self,
        *,
        engine: InProcessVoiceEngine[CallT],
        accept: Callable[[Context], AbstractAsyncContextManager[CallT]],
        accept_free: Callable[[Context], AbstractAsyncContextManager[CallT]],
        max_body_bytes: int,
    ) -> None:
        self._engine = engine
        self._edge = HttpBodyEdge(accept=accept, max_body_bytes=max_body_bytes)
        self._free = HttpBodyEdge(accept=accept_free, max_body_bytes=max_body_bytes)

    async def CreateSpeech(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """POST /v1/audio/speech."""
        async with aclosing(self._edge.stream(request, context, self._speech)) as messages:
            async for message in messages:
                yield message

    async def CreateTranscription(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """POST /v1/audio/transcriptions."""
        work = partial(self._transcription, request.content_type, translate=False)
        async with aclosing(self._edge.stream(request, context, work)) as messages:
            async for message in messages:
                yield message

    async def CreateTranslation(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """POST /v1/audio/translations."""
        work = partial(self._transcription, request.content_type, translate=True)
        async with aclosing(self._edge.stream(request, context, work)) as messages:
            async for message in messages:
                yield message

    async def ListVoices(self, request: audio_pb2.ListVoicesRequest, context: Context) -> httpbody_pb2.HttpBody:
        """GET /v1/audio/voices."""
        return await self._free.single(httpbody_pb2.HttpBody(), context, partial(self._voices, request))

    async def _speech(self, body: bytes, call: CallT) -> AsyncGenerator[BodyPiece, None]:
        asked = read_speech(body)
        content_type = ""
        async with aclosing(self._engine.synthesize(asked.synthesize, call)) as responses:
            async for response in responses:
                content_type = content_type or response.info.content_type
                piece = speech_piece(response, content_type=content_type, events=asked.events)
                if piece is not None:
                    yield piece

    async def _transcription(
        self, content_type: str, body: bytes, call: CallT, *, translate: bool
    ) -> AsyncGenerator[BodyPiece, None]:
        asked = read_transcription(content_type, body, translate=translate)
        answer = TranscriptionAnswer(asked)
        async with aclosing(self._engine.recognize(asked.recognize, call)) as responses:
            async for response in responses:
                if response.stopped_by_budget:
                    # No format can express that the text is incomplete.
                    raise ServiceError(
                        Reason.BUDGET_EXHAUSTED,
                        f"The recording is longer than its reservation: the budget or the request's own cap ended it "
                        f"after {response.duration_ms} ms.",
                    )
                piece = answer.add(response)
                if piece is not None:
                    yield piece
        yield answer.end()

    async def _voices(
        self, asked: audio_pb2.ListVoicesRequest, _body: bytes, call: CallT
    ) -> AsyncGenerator[BodyPiece, None]:
        request = voice_pb2.ListVoicesRequest(model=asked.model, language=asked.language, page_size=1000)
        found: list[voice_pb2.Voice] = []
        while True:
            page = self._engine.list_voices(request, call)
            found += page.voices
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        entries = [
            {
                "id": voice.voice_id,
                "object": "audio.voice",
                "name": voice.name,
                "models": list(voice.models),
                "languages": list(voice.languages),
                "gender": _GENDERS.get(voice.gender),
                "style": voice.style or None,
                "cloned": voice.cloned,
            }
            for voice in found
        ]
        yield "application/json", orjson.dumps({"object": "list", "data": entries})
