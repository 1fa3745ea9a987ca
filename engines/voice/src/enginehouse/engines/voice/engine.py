"""The voice engine: routes each call to synthesis, recognition or the voices.

It is independent of gRPC and of the runtimes. `VoiceServicer` and the OpenAI edge both serve it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.capabilities import ServedVoiceModel, VoiceModels
from enginehouse.engines.voice.recognition.transcriber import Transcriber
from enginehouse.engines.voice.synthesis.conversation import ConversationSynthesizer
from enginehouse.engines.voice.synthesis.synthesizer import Synthesizer
from enginehouse.engines.voice.voices.library import VoiceLibrary
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.engine.context import describe_by_catalog


class VoiceEngine:
    """Serves the models that can be loaded here.

    Args:
        models: the models that can be loaded here.
        voices: lists, clones and deletes voices.
        synthesizer: synthesizes texts.
        conversations: synthesizes texts while they are written.
        transcriber: transcribes recordings and streams.
    """

    def __init__(
        self,
        *,
        models: VoiceModels,
        voices: VoiceLibrary,
        synthesizer: Synthesizer,
        conversations: ConversationSynthesizer,
        transcriber: Transcriber,
    ) -> None:
        self.models = models
        """The models that can be loaded here."""
        self._synthesizer = synthesizer
        self._conversations = conversations
        self._transcriber = transcriber
        self.voices = voices
        """Lists, clones and deletes voices."""

    def synthesize(
        self, request: voice_pb2.SynthesizeRequest, call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.SynthesizeResponse, None]:
        """Yield the messages of one synthesis; the last one has a summary. Raises ServiceError.

        If the model fails before its first output, the grant's next model takes over, if it is served here. Closing the
        generator ends the work at once.
        """
        return self.models.stream(call, lambda: self._synthesizer.synthesize(request, call, self._granted(call)))

    async def plan_speech(
        self, request: voice_pb2.PlanSpeechRequest, call: GrantedCall
    ) -> voice_pb2.PlanSpeechResponse:
        """Return what a synthesis would speak. Raises ServiceError."""
        return await self._synthesizer.plan(request, call, self._granted(call))

    async def converse(
        self, requests: AsyncIterator[voice_pb2.ConverseRequest], call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.ConverseResponse, None]:
        """Yield the messages of one conversation; the last one has a summary. Raises ServiceError."""
        async with aclosing(self._conversations.converse(requests, call, self._granted(call))) as responses:
            async for response in responses:
                yield response

    def recognize(
        self, request: voice_pb2.RecognizeRequest, call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.RecognizeResponse, None]:
        """Yield segments as they are recognized; the last message has everything except the segments.

        If the model fails before its first segment, the grant's next model takes over. Raises ServiceError.
        """
        return self.models.stream(call, lambda: self._transcriber.recognize(request, call, self._granted(call)))

    async def recognize_stream(
        self, requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest], call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.StreamingRecognizeResponse, None]:
        """Yield the messages of one live recognition; the last one has a summary. Raises ServiceError."""
        async with aclosing(self._transcriber.recognize_stream(requests, call, self._granted(call))) as responses:
            async for response in responses:
                yield response

    def list_voices(self, request: voice_pb2.ListVoicesRequest, call: GrantedCall) -> voice_pb2.ListVoicesResponse:
        """Return a page of voices. Raises ServiceError."""
        return self.voices.list(request, call)

    def describe(self, served: ServedVoiceModel) -> registry_pb2.ServedModel:
        """Return a model as the registry shows it: with its languages, unless the catalog has others, and the names of
        its voices.
        """
        shown = describe_by_catalog(served)
        speaker, recogniser = served.info.speaker, served.info.recogniser
        if speaker is not None:
            shown.voices.extend(self.voices.names(served.catalog.name).registered)
        if not shown.languages:
            tags = [tag for part in (speaker, recogniser) if part is not None for tag in part.languages]
            shown.languages.extend(dict.fromkeys(tag.partition("-")[0] for tag in tags))
        return shown

    def _granted(self, call: GrantedCall) -> ServedVoiceModel:
        return self.models.granted(call)[1]
