"""Speech, transcription and voices."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Unpack

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client._async.conversation import AsyncConversationMixin
from enginehouse.client._async.streams import AsyncSpeechStream, AsyncTranscriptionStream, AudioSource
from enginehouse.client._connection import new_request_id
from enginehouse.client.requests import voice as voice_requests
from enginehouse.client.requests.voice import Recording, SpeechOptions
from enginehouse.client.retries import Attempts
from enginehouse.client.speech import SpeechCall
from enginehouse.client.transcription import Transcript, TranscriptionCall


class AsyncVoiceMixin(AsyncConversationMixin):
    """The methods of `AsyncEnginehouse` for speech, transcription and voices."""

    def speak(
        self,
        text: str | None = None,
        *,
        ssml: str | None = None,
        first_chunk: int = 0,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> AsyncSpeechStream:
        """Synthesize a text or an SSML document of up to 500,000 characters. Iterating raises EnginehouseError.

        Args:
            text: the text; None with `ssml`.
            ssml: an SSML document; None with `text`.
            first_chunk: the chunk to start with, from 0: the first one that a cut call did not complete.
            timeout_s: seconds for this call with all its retries; None takes the client's.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.
            options: see `SpeechOptions`.

        Raises:
            ValueError: the arguments contradict each other, or an option has an unknown value.
        """
        request_id = request_id or new_request_id()
        request = voice_requests.synthesize(text, ssml=ssml, first_chunk=first_chunk, request_id=request_id, **options)
        attempts = self._transport.attempts(timeout_s)
        state = SpeechCall(request_id=request_id, attempts=attempts, first_chunk=first_chunk)

        def send() -> Any:
            metadata = self._transport.metadata(request_id, attempt=state.attempt)
            return self._voice.Synthesize(request, metadata=metadata, timeout=state.remaining_s)

        return AsyncSpeechStream(state, send)

    async def plan_speech(
        self,
        text: str | None = None,
        *,
        ssml: str | None = None,
        timeout_s: float | None = None,
        request_id: str | None = None,
        **options: Unpack[SpeechOptions],
    ) -> voice_pb2.PlanSpeechResponse:
        """Return the words that `speak` would speak, chunk by chunk, without speaking them. Costs nothing.

        Args:
            text: the text, of up to 20,000 characters; None with `ssml`.
            ssml: an SSML document; None with `text`.
            timeout_s: seconds for this call with all its retries; None takes the client's.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.
            options: see `SpeechOptions`; those of the audio change nothing.

        Raises:
            EnginehouseError: the call failed.
            ValueError: the arguments contradict each other, or an option has an unknown value.
        """
        request_id = request_id or new_request_id()
        request = voice_requests.plan_speech(text, ssml=ssml, request_id=request_id, **options)
        response: voice_pb2.PlanSpeechResponse = await self._transport.unary(
            self._voice.PlanSpeech, request, timeout_s=timeout_s, request_id=request_id
        )
        return response

    async def transcribe(
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
        """Transcribe a recording.

        Args:
            recording: a file of any common container, as bytes or by its path; at most 25 MiB and 4 hours.
            model: a recognition model's name, or "auto".
            language: the spoken language as a BCP 47 tag; empty has it detected, by models that can.
            word_times: give the time of each word.
            translate: translate into English, by a model that can.
            prompt: likely words, for models that take such a hint.
            max_audio_seconds: the length of audio to reserve money for, if the file does not tell its own; audio beyond
                it is not transcribed.
            timeout_s: seconds for this call with all its retries; None takes the client's.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.

        Raises:
            EnginehouseError: the call failed.
            OSError: the file cannot be read.
            ValueError: the recording is too large.
        """
        request_id = request_id or new_request_id()
        options = voice_pb2.RecognitionOptions(
            language=language, word_times=word_times, translate=translate, prompt=prompt
        )
        request = voice_requests.recognize(recording, request_id=request_id, model=model, options=options)
        response = await self._transport.unary(
            self._voice.Recognize,
            request,
            timeout_s=timeout_s,
            request_id=request_id,
            metadata=voice_requests.routing_metadata(max_audio_seconds=max_audio_seconds),
        )
        return Transcript.of(response)

    def listen(
        self,
        audio: AudioSource,
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
    ) -> AsyncTranscriptionStream:
        """Transcribe speech while it is spoken. Iterating raises EnginehouseError.

        Args:
            audio: 16-bit little-endian PCM of one channel, in pieces of any size, as it is recorded.
            sample_rate: samples a second, 8,000 to 48,000.
            model: a recognition model's name, or "auto".
            language: the spoken language as a BCP 47 tag; empty has it detected, by models that can.
            word_times: give the time of each word.
            translate: translate into English, by a model that can.
            prompt: likely words, for models that take such a hint.
            interim: also give utterances as far as they are understood, before they end.
            end_silence_ms: the pause that ends an utterance, 200 to 5,000; 0 is 700.
            single_utterance: end with the first utterance.
            max_audio_seconds: the length of audio to reserve money for; None reserves for 600. The call ends there.
            timeout_s: seconds for the whole call; None for no bound.
            request_id: 1-64 of [A-Za-z0-9_-]; None makes one.

        Raises:
            ValueError: the arguments hold a value that fits into no request.
        """
        request_id = request_id or new_request_id()
        config = voice_requests.streaming_recognize(
            request_id=request_id,
            options=voice_pb2.RecognitionOptions(
                language=language, word_times=word_times, translate=translate, prompt=prompt
            ),
            sample_rate=sample_rate,
            interim=interim,
            end_silence_ms=end_silence_ms,
            single_utterance=single_utterance,
        )
        routing = voice_requests.routing_metadata(model=model, language=language, max_audio_seconds=max_audio_seconds)
        # Without a timeout of its own, the call has none: it lasts as long as somebody speaks.
        attempts = Attempts(self._transport.retries, timeout_s=timeout_s)
        state = TranscriptionCall(request_id=request_id, attempts=attempts)

        def send(requests: Any = None) -> Any:
            metadata = self._transport.metadata(request_id, attempt=state.attempt) + routing
            return self._voice.StreamingRecognize(requests, metadata=metadata, timeout=state.remaining_s)

        return AsyncTranscriptionStream(state, send, config=config, audio=audio)

    def voices(
        self,
        *,
        language: str = "",
        gender: str = "",
        style: str = "",
        model: str = "",
        cloned: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncIterator[voice_pb2.Voice]:
        """List the voices that the caller may use, by id, page by page.

        Args:
            language: only voices that speak it; "en" finds "en-US" too.
            gender: only voices of this gender: "female", "male" or "neutral".
            style: only voices of this style, such as "whisper".
            model: only voices of this model.
            cloned: only the tenant's own.
            timeout_s: seconds for each page; None takes the client's.

        Raises:
            EnginehouseError: a call failed.
            ValueError: the gender is unknown.
        """
        request = voice_requests.list_voices(language=language, gender=gender, style=style, model=model, cloned=cloned)
        return self._list_voices(request, timeout_s)

    async def create_voice(
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
        """Create a voice from a recording of somebody who has agreed to it. It belongs to the caller's tenant.

        Args:
            name: the voice's name, for people; 1-100 characters, unique within the tenant.
            sample: one speaker, 3 to 30 seconds, in a file of any common container, as bytes or by its path; at most
                10 MiB.
            language: the language spoken in it, as a BCP 47 tag.
            speaker: the name of the speaker.
            statement: the text that the speaker agreed to; kept as long as the voice is.
            confirmed: that the speaker has agreed; must be True.
            model: a model that can clone voices; empty takes the only one there is.
            gender: "female", "male" or "neutral".
            description: at most 500 characters.
            timeout_s: seconds for this call with all its retries; None takes the client's.

        Raises:
            EnginehouseError: the call failed.
            OSError: the file cannot be read.
            ValueError: the recording is too large, or the gender unknown.
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
        response = await self._transport.unary(self._voice.CreateVoice, request, timeout_s=timeout_s)
        return response.voice

    async def delete_voice(self, voice_id: str, *, timeout_s: float | None = None) -> None:
        """Delete a voice of the caller's tenant, with its recording. Raise EnginehouseError if the call fails."""
        request = voice_pb2.DeleteVoiceRequest(voice_id=voice_id)
        await self._transport.unary(self._voice.DeleteVoice, request, timeout_s=timeout_s)

    async def _list_voices(
        self, request: voice_pb2.ListVoicesRequest, timeout_s: float | None
    ) -> AsyncIterator[voice_pb2.Voice]:
        async for page in self._transport.pages(self._voice.ListVoices, request, timeout_s=timeout_s):
            for voice in page.voices:
                yield voice
