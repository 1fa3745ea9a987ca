"""Speech of a text that is still being written: the caller gives the text's pieces and iterates over the audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Unpack

from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.client._connection import new_request_id
from enginehouse.client._sync.request_stream import RequestStream
from enginehouse.client._sync.streams import AudioStream
from enginehouse.client._sync.transport import Transport
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.requests.voice import SpeechOptions
from enginehouse.client.retries import Attempts
from enginehouse.client.speech import SpeechCall


class ConversationStream(AudioStream):
    """The audio of a text that is still being written: iterate over its bytes, once.

    A thread of its own takes the text once a server has answered, and never twice. Leaving the `with` block or calling
    `close()` before the end cancels the call. Iterating raises EnginehouseError, and any error of the text.
    """

    def __init__(
        self,
        state: SpeechCall,
        send: Callable[[Iterator[voice_pb2.ConverseRequest]], Any],
        *,
        config: voice_pb2.ConverseRequest,
        texts: Iterable[str],
    ) -> None:
        rest = (voice_pb2.ConverseRequest(text=text) for text in texts if text)
        self._requests = RequestStream(config, rest, cancel=self.close)
        super().__init__(state, lambda: send(self._requests.next_attempt()))

    def _add(self, message: Any) -> Iterable[bytes]:
        self._requests.release()
        return super()._add(message)

    def _run(self) -> Iterator[bytes]:
        return self._requests.raising_errors(super()._run())


class ConversationMixin:
    """The method of `Enginehouse` for conversations."""

    def __init__(self, *, transport: Transport) -> None:
        self._transport = transport
        self._voice = voice_pb2_grpc.VoiceServiceStub(transport.channel)

    def converse(
        self,
        texts: Iterable[str],
        *,
        max_characters: int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> ConversationStream:
        """Speak a text while it is being written, such as the pieces of an answer. Iterating raises EnginehouseError.

        Args:
            texts: the text's pieces as they are written; each sentence is spoken as soon as it is complete.
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

        def send(requests: Iterator[voice_pb2.ConverseRequest]) -> Any:
            metadata = self._transport.metadata(request_id, attempt=state.attempt) + routing
            return self._voice.Converse(requests, metadata=metadata, timeout=state.remaining_s)

        return ConversationStream(state, send, config=config, texts=texts)
