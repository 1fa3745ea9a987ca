"""Transcribe recordings, and live audio while it is spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing

from enginehouse.api.common.v1.usage_pb2 import UNIT_AUDIO_MILLISECONDS
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.audio import Endpointer, PcmReader, Resampler, SpeechEnded, SpeechStarted
from enginehouse.engines.voice.backends.base import (
    LiveUtterance,
    Recogniser,
    RecogniserInfo,
    RecognitionOptions,
    Samples,
    Segment,
)
from enginehouse.engines.voice.capabilities import (
    ServedVoiceModel,
    known_as,
    loaded_recogniser,
    recogniser_info,
    unsupported,
)
from enginehouse.engines.voice.recognition.recordings import RecordingReader
from enginehouse.engines.voice.validation import check_recognize, check_streaming
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid, shorten

_MAX_AUDIO_BYTES = 1 << 20
_END_SILENCE_MS = 700
# The interval of interim results.
_INTERIM_MS = 200


class Transcriber:
    """Transcribes recordings and live streams.

    Args:
        recordings: the reader of recordings.
        stall_s: the time that a streaming caller may send nothing, in seconds.
    """

    def __init__(self, *, recordings: RecordingReader, stall_s: float) -> None:
        self._recordings = recordings
        self._stall_s = stall_s

    async def recognize(
        self, request: voice_pb2.RecognizeRequest, call: GrantedCall, served: ServedVoiceModel
    ) -> AsyncGenerator[voice_pb2.RecognizeResponse, None]:
        """Yield segments as they are recognized; the last message has everything except the segments. Raises
        ServiceError.
        """
        check_recognize(request)
        info = recogniser_info(served)
        options = _options(request.options, info, served)
        metered = _MeteredAudio(call, sample_rate=info.sample_rate)
        texts: list[str] = []
        language = ""
        async with served.hold() as loaded:
            pieces = self._recordings.read(request.audio, rate=info.sample_rate, field="audio")
            async with (
                aclosing(metered.paid(pieces)) as audio,
                aclosing(loaded_recogniser(loaded).transcribe(audio, options)) as segments,
            ):
                async for segment in segments:
                    call.mark_first_output()
                    texts.append(segment.text)
                    language = language or segment.language
                    yield voice_pb2.RecognizeResponse(segments=[segment_message(segment)])
        yield voice_pb2.RecognizeResponse(
            request_id=call.request_id,
            model=served.catalog.name,
            text=" ".join(texts),
            language=_language(language, options, info),
            duration_ms=metered.milliseconds,
            usage=call.meter.usage(),
            stopped_by_budget=metered.capped,
        )

    async def recognize_stream(
        self,
        requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest],
        call: GrantedCall,
        served: ServedVoiceModel,
    ) -> AsyncGenerator[voice_pb2.StreamingRecognizeResponse, None]:
        """Yield the messages of one live recognition; the last one has a summary. Raises ServiceError."""
        info = recogniser_info(served)
        config = await self._config(requests)
        check_streaming(config)
        options = _options(config.options, info, served)
        metered = _MeteredAudio(call, sample_rate=info.sample_rate)
        async with served.use() as loaded:
            # Sent at once, without any result yet: the edge ends a request that has no answer within a minute.
            yield voice_pb2.StreamingRecognizeResponse(request_id=call.request_id, model=served.catalog.name)
            async with served.slots.hold():
                session = _StreamSession(config, loaded_recogniser(loaded), options)
                async with aclosing(session), aclosing(metered.paid(self._samples(requests, config, info))) as audio:
                    async for samples in audio:
                        for response in await session.feed(samples):
                            call.mark_first_output()
                            yield response
                        if session.over:
                            break
                    for response in await session.finish():
                        yield response
        yield voice_pb2.StreamingRecognizeResponse(
            summary=voice_pb2.RecognitionSummary(
                usage=call.meter.usage(),
                audio_ms=metered.milliseconds,
                total_ms=call.elapsed_ms(),
                stopped_by_budget=metered.capped,
            )
        )

    async def _config(
        self, requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest]
    ) -> voice_pb2.StreamingRecognizeConfig:
        first = await self._next(requests)
        if first is None or first.WhichOneof("message") != "config":
            raise invalid("config", "must be the first message of a recognition")
        return first.config

    async def _samples(
        self,
        requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest],
        config: voice_pb2.StreamingRecognizeConfig,
        recogniser: RecogniserInfo,
    ) -> AsyncGenerator[Samples, None]:
        reader = PcmReader()
        resampler = Resampler(source_rate=config.sample_rate, rate=recogniser.sample_rate)
        while (request := await self._next(requests)) is not None:
            if request.WhichOneof("message") != "audio":
                raise invalid("message", "after the first message, send audio")
            if len(request.audio) > _MAX_AUDIO_BYTES:
                raise invalid("audio", f"has {len(request.audio)} bytes; send at most {_MAX_AUDIO_BYTES} at once")
            yield resampler.feed(reader.feed(request.audio))
        if reader.pending:
            raise invalid("audio", "ends within a sample: 16-bit samples have two bytes each")
        yield resampler.finish()

    async def _next(
        self, requests: AsyncIterator[voice_pb2.StreamingRecognizeRequest]
    ) -> voice_pb2.StreamingRecognizeRequest | None:
        try:
            async with asyncio.timeout(self._stall_s):
                return await anext(requests)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise ServiceError(
                Reason.DEADLINE_EXCEEDED,
                f"no audio for {self._stall_s:g} s; send silence too, or end the stream",
            ) from None


class _StreamSession:
    """One stream of audio: finds its utterances, and has each recognized while it is spoken."""

    def __init__(
        self, config: voice_pb2.StreamingRecognizeConfig, recogniser: Recogniser, options: RecognitionOptions
    ) -> None:
        self._config = config
        self._recogniser = recogniser
        self._options = options
        self._endpointer = Endpointer(
            sample_rate=recogniser.info.sample_rate, end_silence_ms=config.end_silence_ms or _END_SILENCE_MS
        )
        self._live: LiveUtterance | None = None
        self._held = AsyncExitStack()
        self._fed = 0
        self._since_interim = 0
        self.over = False
        """True if a single utterance was requested and has ended."""

    async def feed(self, samples: Samples) -> Sequence[voice_pb2.StreamingRecognizeResponse]:
        """Take samples and return the responses to send."""
        responses = await self._handle_events(self._endpointer.feed(samples))
        if self._live is not None and not self.over:
            utterance = self._endpointer.utterance
            new_samples = utterance[self._fed :]
            self._fed = len(utterance)
            self._since_interim += len(new_samples)
            interim = self._config.interim_results and self._since_interim >= self._per_interim
            segment = await self._live.feed(new_samples, interim=interim) if len(new_samples) else None
            if interim:
                self._since_interim = 0
            if segment is not None and segment.text:
                responses.append(self._result(segment, self._endpointer.utterance_first_ms, is_final=False))
        return responses

    async def finish(self) -> Sequence[voice_pb2.StreamingRecognizeResponse]:
        """Return the responses at the audio's end."""
        return [] if self.over else await self._handle_events(self._endpointer.finish())

    async def aclose(self) -> None:
        """Drop the current utterance."""
        self._live = None
        await self._held.aclose()

    @property
    def _per_interim(self) -> int:
        return self._recogniser.info.sample_rate * _INTERIM_MS // 1000

    async def _handle_events(
        self, events: Sequence[SpeechStarted | SpeechEnded]
    ) -> list[voice_pb2.StreamingRecognizeResponse]:
        responses = []
        for event in events:
            if self.over:
                break
            if isinstance(event, SpeechStarted):
                self._live = await self._held.enter_async_context(self._recogniser.live(self._options))
                self._fed = self._since_interim = 0
                kind = voice_pb2.SPEECH_EVENT_STARTED
                responses.append(voice_pb2.StreamingRecognizeResponse(event=kind, event_ms=event.at_ms))
                continue
            segment = await self._final(event)
            if segment is not None and segment.text:
                responses.append(self._result(segment, event.first_ms, is_final=True))
            kind = voice_pb2.SPEECH_EVENT_ENDED
            responses.append(voice_pb2.StreamingRecognizeResponse(event=kind, event_ms=event.at_ms))
            self.over = self._config.single_utterance
        return responses

    async def _final(self, event: SpeechEnded) -> Segment | None:
        live = self._live
        if live is None or (self._fed > len(event.samples) and event.cut):
            # It was cut before the last fed sample: the later samples belong to the next utterance.
            await self._held.aclose()
            live = await self._held.enter_async_context(self._recogniser.live(self._options))
            self._fed = 0
        if self._fed < len(event.samples):
            await live.feed(event.samples[self._fed :], interim=False)
        segment = await live.finish()
        self._live = None
        await self._held.aclose()
        return segment

    def _result(self, segment: Segment, first_ms: int, *, is_final: bool) -> voice_pb2.StreamingRecognizeResponse:
        message = segment_message(segment, later_ms=first_ms)
        if not self._options.word_times:
            del message.words[:]
        language = _language(segment.language, self._options, self._recogniser.info)
        return voice_pb2.StreamingRecognizeResponse(
            result=voice_pb2.StreamingResult(segment=message, is_final=is_final, language=language)
        )


class _MeteredAudio:
    """Counts audio on the meter before it is recognized, and ends it where no more can be reserved for it."""

    def __init__(self, call: GrantedCall, *, sample_rate: int) -> None:
        self._call = call
        self._sample_rate = sample_rate
        self._samples = 0
        self.milliseconds = 0
        """The length of the paid audio."""
        self.capped = False
        """True if a budget or the request's own bound ended the audio."""

    async def paid(self, pieces: AsyncGenerator[Samples, None]) -> AsyncGenerator[Samples, None]:
        """Yield the samples that are paid for."""
        async with aclosing(pieces):
            async for samples in pieces:
                ends_ms = (self._samples + len(samples)) * 1000 // self._sample_rate
                more = ends_ms - self.milliseconds
                # A header may have told of less than there is.
                await self._call.reserve(UNIT_AUDIO_MILLISECONDS, more)
                paid = self._call.meter.take(UNIT_AUDIO_MILLISECONDS, more)
                self.milliseconds += paid
                if paid < more:
                    self.capped = True
                    keep = self.milliseconds * self._sample_rate // 1000 - self._samples
                    if keep > 0:
                        yield samples[:keep]
                    return
                self._samples += len(samples)
                yield samples


def segment_message(segment: Segment, *, later_ms: int = 0) -> voice_pb2.Segment:
    """Return the message of a segment, with its times shifted by `later_ms`."""
    return voice_pb2.Segment(
        text=segment.text,
        start_ms=segment.start_ms + later_ms,
        end_ms=segment.end_ms + later_ms,
        confidence=segment.confidence,
        words=[
            voice_pb2.Word(
                word=word.word,
                start_ms=word.start_ms + later_ms,
                end_ms=word.end_ms + later_ms,
                confidence=word.confidence,
            )
            for word in segment.words
        ],
    )


def _options(
    options: voice_pb2.RecognitionOptions, recogniser: RecogniserInfo, served: ServedVoiceModel
) -> RecognitionOptions:
    language = known_as(options.language, recogniser.languages) if options.language else ""
    if language is None:
        known = ", ".join(sorted(recogniser.languages))
        raise invalid(
            "options.language",
            f"{shorten(options.language)} is not supported by {served.catalog.name!r}, which recognizes: {known}",
        )
    if options.translate and not recogniser.translates:
        raise unsupported(served, "translation")
    if options.word_times and not recogniser.times_words:
        raise unsupported(served, "word times")
    return RecognitionOptions(
        language=language,
        word_times=options.word_times,
        translate=options.translate,
        prompt=options.prompt,
    )


def _language(detected: str, options: RecognitionOptions, recogniser: RecogniserInfo) -> str:
    if options.translate:
        return "en"
    return detected or options.language or (recogniser.languages[0] if len(recogniser.languages) == 1 else "")
