"""Speech and voices, synchronously."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, Unpack

from enginehouse.api.voice.v1 import voice_pb2, voice_pb2_grpc
from enginehouse.client import _connection
from enginehouse.client._sync_streams import ConversationStream, SpeechStream, TranscriptionStream
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.requests.voice import Recording, SpeechOptions
from enginehouse.client.retries import Attempts, RetryPolicy
from enginehouse.client.speech import SpeechCall
from enginehouse.client.transcription import Transcript, TranscriptionCall

Response = TypeVar("Response")


class VoiceCalls:
    """What `Enginehouse` does with speech; it is the base class of that and of nothing else."""

    _voice: voice_pb2_grpc.VoiceServiceStub
    _api_key: str
    _purpose: tuple[tuple[str, str], ...]
    _retries: RetryPolicy

    def speak(
        self,
        text: str | None = None,
        *,
        ssml: str | None = None,
        first_chunk: int = 0,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> SpeechStream:
        """Speaks a text or an SSML document of up to 500,000 characters; errors while iterating.

        Args:
            text: what is said.
            ssml: or a document that says it.
            first_chunk: begin with this chunk of it, from 0: what a cut call had not got yet.
            timeout_s: seconds for this call with all its retries; None takes the client's.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.
            options: with what voice and how; see `SpeechOptions`.

        Raises:
            ValueError: the arguments contradict each other, or hold words that mean nothing.
        """
        request_id = request_id or _connection.new_request_id()
        request = voice_requests.synthesize(text, ssml=ssml, first_chunk=first_chunk, request_id=request_id, **options)
        spoken = SpeechCall(request_id=request_id, attempts=self._attempts(timeout_s), first_chunk=first_chunk)

        def send() -> Any:
            metadata = self._metadata(request_id, attempt=spoken.attempt)
            return self._voice.Synthesize(request, metadata=metadata, timeout=spoken.remaining_s)

        return SpeechStream(spoken, send)

    def converse(
        self,
        texts: Iterable[str],
        *,
        max_characters: int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> ConversationStream:
        """Speaks a text while it is being written, such as the pieces of an answer; errors while iterating.

        Args:
            texts: the text's pieces, as they are written; a sentence is spoken as soon as it is whole.
            max_characters: for how many characters there must be money beforehand; None takes 20,000.
            timeout_s: seconds for the whole conversation; None for no bound.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.
            options: with what voice and how; see `SpeechOptions`. The encoding is "pcm" (the default) or "opus".

        Raises:
            ValueError: the arguments hold words that mean nothing.
        """
        request_id = request_id or _connection.new_request_id()
        config = voice_requests.conversation(request_id=request_id, **options)
        bounds = voice_requests.bounds(model=options.get("model", ""), max_characters=max_characters)
        attempts = Attempts(self._retries, timeout_s=timeout_s)
        spoken = SpeechCall(request_id=request_id, attempts=attempts, first_chunk=None)

        def send(messages: Iterator[voice_pb2.ConverseRequest]) -> Any:
            metadata = self._metadata(request_id, attempt=spoken.attempt) + bounds
            return self._voice.Converse(messages, metadata=metadata, timeout=spoken.remaining_s)

        return ConversationStream(spoken, send, config=config, texts=texts)

    def transcribe(
        self,
        recording: Recording,
        *,
        model: str = "auto",
        language: str = "",
        word_times: bool = False,
        translate: bool = False,
        prompt: str = "",
        max_audio_seconds: int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> Transcript:
        """Writes a recording down.

        Args:
            recording: a file of any common container, as bytes or by its path; at most 25 MiB and 4 hours.
            model: a recognition model's name, or "auto".
            language: the spoken language as a BCP 47 tag; detected otherwise, by models that can.
            word_times: say when each word was spoken.
            translate: write it down in English, by a model that can.
            prompt: words that are likely, for models that take such a hint.
            max_audio_seconds: for how much audio there must be money beforehand, where the file does not say how long
                it is; the rest is not listened to.
            timeout_s: seconds for this call with all its retries; None takes the client's.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.

        Raises:
            EnginehouseError: the call failed.
            OSError: the file cannot be read.
            ValueError: the recording is too large.
        """
        request_id = request_id or _connection.new_request_id()
        options = voice_pb2.RecognitionOptions(
            language=language, word_times=word_times, translate=translate, prompt=prompt
        )
        request = voice_requests.recognize(recording, request_id=request_id, model=model, options=options)
        bounds = voice_requests.bounds(max_audio_seconds=max_audio_seconds)
        return Transcript.of(self._unary(self._voice.Recognize, request, timeout_s, request_id, bounds))

    def listen(
        self,
        audio: Iterable[bytes],
        *,
        sample_rate: int,
        model: str = "auto",
        language: str = "",
        word_times: bool = False,
        translate: bool = False,
        prompt: str = "",
        interim: bool = False,
        end_silence_ms: int = 0,
        single_utterance: bool = False,
        max_audio_seconds: int | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
    ) -> TranscriptionStream:
        """Writes speech down while it is being spoken; errors while iterating.

        Args:
            audio: 16-bit little-endian PCM of one channel, in pieces of any size, as it is recorded.
            sample_rate: its samples a second, 8,000 to 48,000.
            model: a recognition model's name, or "auto".
            language: the spoken language as a BCP 47 tag; detected otherwise, by models that can.
            word_times: say when each word was spoken.
            translate: write it down in English, by a model that can.
            prompt: words that are likely, for models that take such a hint.
            interim: say what is understood so far before an utterance ends, too.
            end_silence_ms: how long a pause ends an utterance, 200 to 5,000; 0 is 700.
            single_utterance: end with the first utterance.
            max_audio_seconds: for how much audio there must be money beforehand; None takes 600. It ends the call.
            timeout_s: seconds for the whole call; None for no bound.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.

        Raises:
            ValueError: the arguments hold what fits in no request.
        """
        request_id = request_id or _connection.new_request_id()
        config = voice_requests.listening(
            request_id=request_id,
            options=voice_pb2.RecognitionOptions(
                language=language, word_times=word_times, translate=translate, prompt=prompt
            ),
            sample_rate=sample_rate,
            interim=interim,
            end_silence_ms=end_silence_ms,
            single_utterance=single_utterance,
        )
        bounds = voice_requests.bounds(model=model, max_audio_seconds=max_audio_seconds)
        hearing = TranscriptionCall(request_id=request_id, attempts=Attempts(self._retries, timeout_s=timeout_s))

        def send(messages: Iterator[voice_pb2.StreamingRecognizeRequest]) -> Any:
            metadata = self._metadata(request_id, attempt=hearing.attempt) + bounds
            return self._voice.StreamingRecognize(messages, metadata=metadata, timeout=hearing.remaining_s)

        return TranscriptionStream(hearing, send, config=config, audio=audio)

    def voices(
        self,
        *,
        language: str = "",
        gender: str = "",
        style: str = "",
        model: str = "",
        cloned: bool = False,
        timeout_s: float | None = None,
    ) -> Iterator[voice_pb2.Voice]:
        """The voices that the caller may use, by id, page by page.

        Args:
            language: only those that speak it; "en" finds "en-US" too.
            gender: only those that sound so: "female", "male" or "neutral".
            style: only those of this style, such as "whisper".
            model: only those that this model speaks with.
            cloned: only the tenant's own.
            timeout_s: seconds for each page; None takes the client's.

        Raises:
            EnginehouseError: a call failed.
            ValueError: there is no such gender.
        """
        request = voice_requests.list_voices(language=language, gender=gender, style=style, model=model, cloned=cloned)
        return self._all_voices(request, timeout_s)

    def create_voice(
        self,
        name: str,
        sample: Recording,
        *,
        language: str,
        speaker: str,
        statement: str,
        confirmed: bool,
        model: str = "",
        gender: str = "",
        description: str = "",
        timeout_s: float | None = None,
    ) -> voice_pb2.Voice:
        """Makes a voice from a recording of somebody who has agreed to it. It belongs to the caller's tenant.

        Args:
            name: what people call it; 1-100 characters, unique within the tenant.
            sample: one speaker, 3 to 30 seconds, in a file of any common container, as bytes or by its path; at most
                10 MiB.
            language: the language spoken in it, as a BCP 47 tag.
            speaker: who speaks in it.
            statement: what the speaker agreed to, in words; kept as long as the voice is.
            confirmed: that the speaker has agreed; must be True.
            model: one that can clone voices; empty takes the only one there is.
            gender: how it sounds: "female", "male" or "neutral".
            description: at most 500 characters.
            timeout_s: seconds for this call with all its retries; None takes the client's.

        Raises:
            EnginehouseError: the call failed.
            OSError: the file cannot be read.
            ValueError: the recording is too large, or there is no such gender.
        """
        request = voice_requests.create_voice(
            name,
            sample,
            language=language,
            speaker=speaker,
            statement=statement,
            confirmed=confirmed,
            model=model,
            gender=gender,
            description=description,
        )
        return self._unary(self._voice.CreateVoice, request, timeout_s).voice

    def delete_voice(self, voice_id: str, *, timeout_s: float | None = None) -> None:
        """Deletes a voice of the caller's tenant, its recording included. Raises EnginehouseError."""
        self._unary(self._voice.DeleteVoice, voice_pb2.DeleteVoiceRequest(voice_id=voice_id), timeout_s)

    def _all_voices(self, request: voice_pb2.ListVoicesRequest, timeout_s: float | None) -> Iterator[voice_pb2.Voice]:
        while True:
            page = self._unary(self._voice.ListVoices, request, timeout_s)
            yield from page.voices
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _metadata(self, request_id: str, *, attempt: int) -> tuple[tuple[str, str], ...]:
        return _connection.call_metadata(self._api_key, request_id, attempt=attempt) + self._purpose

    def _attempts(self, timeout_s: float | None) -> Attempts:
        raise NotImplementedError

    def _unary(
        self,
        method: Callable[..., Response],
        request: Any,
        timeout_s: float | None = None,
        request_id: str | None = None,
        bounds: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        raise NotImplementedError
