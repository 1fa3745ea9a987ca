"""`voice.v1.VoiceService` over the engine: accept each call's grant and let the engine answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.engines.voice.engine import VoiceEngine
from enginehouse.kit.calls import Calls

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class VoiceServicer(voice_pb2_grpc.VoiceServiceServicer):
    """gRPC service of speech and voices.

    Args:
        engine: the engine.
        calls: accepts grants and settles usage.
    """

    def __init__(self, *, engine: VoiceEngine, calls: Calls) -> None:
        self._engine = engine
        self._calls = calls

    async def Synthesize(
        self, request: voice_pb2.SynthesizeRequest, context: Context
    ) -> AsyncIterator[voice_pb2.SynthesizeResponse]:
        """Synthesize a text; see the contract."""
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.synthesize(request, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def PlanSpeech(self, request: voice_pb2.PlanSpeechRequest, context: Context) -> voice_pb2.PlanSpeechResponse:
        """Say what would be spoken; see the contract."""
        async with self._calls.accept(context, served_models=self._engine.models.names) as call:
            return await self._engine.plan_speech(request, call)

    async def Converse(
        self, requests: AsyncIterator[voice_pb2.ConverseRequest], context: Context
    ) -> AsyncIterator[voice_pb2.ConverseResponse]:
        """Synthesize text while it is written; see the contract."""
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.converse(requests, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def Recognize(self, request: voice_pb2.RecognizeRequest, context: Context) -> voice_pb2.RecognizeResponse:
        """Transcribe a recording; see the contract."""
        merged = voice_pb2.RecognizeResponse()
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.recognize(request, call)) as responses,
        ):
            async for response in responses:
                merged.MergeFrom(response)
        return merged

    async def StreamingRecognize(
        self, requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest], context: Context
    ) -> AsyncIterator[voice_pb2.StreamingRecognizeResponse]:
        """Transcribe speech while it is spoken; see the contract."""
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.recognize_stream(requests, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def CreateVoice(
        self, request: voice_pb2.CreateVoiceRequest, context: Context
    ) -> voice_pb2.CreateVoiceResponse:
        """Clone a voice from a recording; see the contract."""
        async with self._calls.accept(context, served_models=None) as call:
            return voice_pb2.CreateVoiceResponse(voice=await self._engine.voices.create(request, call))

    async def ListVoices(self, request: voice_pb2.ListVoicesRequest, context: Context) -> voice_pb2.ListVoicesResponse:
        """List voices; see the contract."""
        async with self._calls.accept(context, served_models=None) as call:
            return self._engine.list_voices(request, call)

    async def DeleteVoice(
        self, request: voice_pb2.DeleteVoiceRequest, context: Context
    ) -> voice_pb2.DeleteVoiceResponse:
        """Delete a voice; see the contract."""
        async with self._calls.accept(context, served_models=None) as call:
            self._engine.voices.delete(request, call)
            return voice_pb2.DeleteVoiceResponse()
