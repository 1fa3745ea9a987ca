"""The voice engine: knows the models, and hands each call to what speaks, listens or keeps voices.

It knows neither gRPC nor which runtime answers. `VoiceServicer` and the OpenAI edge both serve it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Container, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.granted import GrantedCall, ServedModel
from enginehouse.engines.voice.recognition.transcriber import Listeners
from enginehouse.engines.voice.synthesis.conversation import Conversations
from enginehouse.engines.voice.synthesis.synthesizer import Speeches
from enginehouse.engines.voice.voices.book import VoiceBook
from enginehouse.kit.errors import Reason, ServiceError


class VoiceEngine:
    """Answers for the models that are loaded.

    Args:
        models: the models that are loaded, by name.
        voices: lists, makes and deletes voices.
        speeches: speak texts.
        conversations: speak texts while they are written.
        listeners: write down speech.
        absent: why a model of the catalog is not among them, by name.
    """

    def __init__(
        self,
        *,
        models: Mapping[str, ServedModel],
        voices: VoiceBook,
        speeches: Speeches,
        conversations: Conversations,
        listeners: Listeners,
        absent: Mapping[str, ServiceError] = MappingProxyType({}),
    ) -> None:
        self._models = dict(sorted(models.items()))
        self._absent = absent
        self._speeches = speeches
        self._conversations = conversations
        self._listeners = listeners
        self.voices = voices
        """Lists, makes and deletes voices."""
        self.names: Container[str] = frozenset(models) | frozenset(absent)
        """The models that a call may name; one whose weights are absent gets an answer that says so."""

    @property
    def models(self) -> Sequence[ServedModel]:
        """The models that are loaded, by name."""
        return list(self._models.values())

    async def synthesize(
        self, request: voice_pb2.SynthesizeRequest, call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.SynthesizeResponse, None]:
        """Yields the messages of one synthesis; the last has a summary. Raises ServiceError.

        Where the model fails before it has made anything, the next one that the grant names takes over, if it is here.
        Closing the generator ends the work at once.
        """
        while True:
            served = self._granted(call)
            try:
                async with aclosing(self._speeches.synthesize(request, call, served)) as responses:
                    async for response in responses:
                        yield response
                return
            except ServiceError as error:
                if not call.fall_back(error, served=self._models):
                    raise

    async def converse(
        self, requests: AsyncIterator[voice_pb2.ConverseRequest], call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.ConverseResponse, None]:
        """Yields the messages of one conversation; the last has a summary. Raises ServiceError."""
        async with aclosing(self._conversations.converse(requests, call, self._granted(call))) as responses:
            async for response in responses:
                yield response

    async def recognize(
        self, request: voice_pb2.RecognizeRequest, call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.RecognizeResponse, None]:
        """Yields segments as they are understood; the last message has everything but the segments. Raises
        ServiceError. Where the model fails before it has understood anything, the grant's next one takes over.
        """
        while True:
            served = self._granted(call)
            try:
                async with aclosing(self._listeners.recognize(request, call, served)) as responses:
                    async for response in responses:
                        yield response
                return
            except ServiceError as error:
                if not call.fall_back(error, served=self._models):
                    raise

    async def recognize_stream(
        self, requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest], call: GrantedCall
    ) -> AsyncGenerator[voice_pb2.StreamingRecognizeResponse, None]:
        """Yields the messages of one recognition; the last has a summary. Raises ServiceError."""
        async with aclosing(self._listeners.recognize_stream(requests, call, self._granted(call))) as responses:
            async for response in responses:
                yield response

    def list_voices(self, request: voice_pb2.ListVoicesRequest, call: GrantedCall) -> voice_pb2.ListVoicesResponse:
        """A page of voices. Raises ServiceError."""
        return self.voices.list(request, call)

    def _granted(self, call: GrantedCall) -> ServedModel:
        if call.candidate is None:
            raise ServiceError(Reason.GRANT_INVALID, "the grant names no model; speech needs one")
        name = call.candidate.model
        served = self._models.get(name)
        if name in self._absent:
            raise self._absent[name]
        if served is None:
            known = ", ".join(self._models) or "none"
            raise ServiceError(Reason.UNKNOWN_MODEL, f"this engine does not serve {name[:128]!r}; it serves: {known}")
        return served
