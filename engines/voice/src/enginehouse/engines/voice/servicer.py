"""`voice.v1.VoiceService` over the engine: accepts each call's grant and lets the engine answer."""

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
    """Serves speech and voices.

    Args:
        engine: does the work.
        calls: accepts grants and settles what calls used.
    """

    def __init__(self, *, engine: VoiceEngine, calls: Calls) -> None:
        self._engine = engine
        self._calls = calls

    async def Synthesize(
        self, request: voice_pb2.SynthesizeRequest, context: Context
    ) -> AsyncIterator[voice_pb2.SynthesizeResponse]:
        """Speak a text; see the contract."""
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.synthesize(request, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def Converse(
        self, requests: AsyncIterator[voice_pb2.ConverseRequest], context: Context
    ) -> AsyncIterator[voice_pb2.ConverseResponse]:
        """Speak text while it is written; see the contract."""
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.converse(requests, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def Recognize(self, request: voice_pb2.RecognizeRequest, context: Context) -> voice_pb2.RecognizeResponse:
        """Write down a recording; see the contract."""
        whole = voice_pb2.RecognizeResponse()
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.recognize(request, call)) as responses,
        ):
            async for response in responses:
                whole.MergeFrom(response)
        return whole

    async def StreamingRecognize(
        self, requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest], context: Context
    ) -> AsyncIterator[voice_pb2.StreamingRecognizeResponse]:
        """Write down speech while it is spoken; see the contract."""
        async with (
            self._calls.accept(context, served_models=self._engine.models.names) as call,
            aclosing(self._engine.recognize_stream(requests, call)) as responses,
        ):
            async for response in responses:
                yield response

    async def CreateVoice(
        self, request: voice_pb2.CreateVoiceRequest, context: Context
    ) -> voice_pb2.CreateVoiceResponse:
        """Make a voice from a recording; see the contract."""
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
