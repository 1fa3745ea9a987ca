"""The voice engine: knows the models, and hands each call to what speaks, listens or keeps voices.

It knows neither gRPC nor which runtime answers. `VoiceServicer` and the OpenAI edge both serve it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.backends.base import LoadedVoiceModel
from enginehouse.engines.voice.capabilities import ServedModel
from enginehouse.engines.voice.recognition.transcriber import Transcriber
from enginehouse.engines.voice.synthesis.conversation import ConversationSynthesizer
from enginehouse.engines.voice.synthesis.synthesizer import Synthesizer
from enginehouse.engines.voice.voices.library import VoiceLibrary
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.loading import LoadedModels


class VoiceEngine:
    """Answers for the models that are loaded.

    Args:
        models: the models that are loaded.
        voices: lists, makes and deletes voices.
        synthesizer: speak texts.
        conversations: speak texts while they are written.
        transcriber: write down speech.
    """

    def __init__(
        self,
        *,
        models: LoadedModels[LoadedVoiceModel],
        voices: VoiceLibrary,
        synthesizer: Synthesizer,
        conversations: ConversationSynthesizer,
        transcriber: Transcriber,
    ) -> None:
        self.models = models
        """The models that are loaded."""
        self._synthesizer = synthesizer
        self._conversations = conversations
        self._transcriber = transcriber
        self.voices = voices
        """Lists, makes and deletes voices."""

    def synthesize(
        self, request: voice_pb2.SynthesizeRequest, call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.SynthesizeResponse, None]:
        """Yield the messages of one synthesis; the last has a summary. Raises ServiceError.

        Where the model fails before it has made anything, the next one that the grant names takes over, if it is here.
        Closing the generator ends the work at once.
        """
        return self.models.stream(call, lambda: self._synthesizer.synthesize(request, call, self._granted(call)))

    async def converse(
        self, requests: AsyncIterator[voice_pb2.ConverseRequest], call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.ConverseResponse, None]:
        """Yield the messages of one conversation; the last has a summary. Raises ServiceError."""
        async with aclosing(self._conversations.converse(requests, call, self._granted(call))) as responses:
            async for response in responses:
                yield response

    def recognize(
        self, request: voice_pb2.RecognizeRequest, call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.RecognizeResponse, None]:
        """Yield segments as they are understood; the last message has everything but the segments. Raises
        ServiceError. Where the model fails before it has understood anything, the grant's next one takes over.
        """
        return self.models.stream(call, lambda: self._transcriber.recognize(request, call, self._granted(call)))

    async def recognize_stream(
        self, requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest], call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.StreamingRecognizeResponse, None]:
        """Yield the messages of one recognition; the last has a summary. Raises ServiceError."""
        async with aclosing(self._transcriber.recognize_stream(requests, call, self._granted(call))) as responses:
            async for response in responses:
                yield response

    def list_voices(self, request: voice_pb2.ListVoicesRequest, call: GrantedCall) -> voice_pb2.ListVoicesResponse:
        """A page of voices. Raises ServiceError."""
        return self.voices.list(request, call)

    def _granted(self, call: GrantedCall) -> ServedModel:
        return self.models.granted(call)[1]
