"""The audio of one call: utterances synthesized one after the other into one file, metered before they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from enginehouse.api.common.v1.usage_pb2 import UNIT_AUDIO_MILLISECONDS, UNIT_CHARACTERS
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.audio import Encoding, Joiner, StreamEncoder, pick_rate
from enginehouse.engines.voice.backends.base import ClonedVoice, Prosody, Samples, Speaker, SpeakerInfo, Utterance
from enginehouse.engines.voice.text import Chunk, Pause, Say
from enginehouse.engines.voice.voices.library import is_clone
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid

ENCODINGS = {
    voice_pb2.AUDIO_ENCODING_WAV: Encoding.WAV,
    voice_pb2.AUDIO_ENCODING_MP3: Encoding.MP3,
    voice_pb2.AUDIO_ENCODING_OPUS: Encoding.OPUS,
    voice_pb2.AUDIO_ENCODING_AAC: Encoding.AAC,
    voice_pb2.AUDIO_ENCODING_FLAC: Encoding.FLAC,
    voice_pb2.AUDIO_ENCODING_PCM: Encoding.PCM,
}
"""The codecs of the contract's encodings."""

_NEUTRAL = Prosody()


@dataclass(frozen=True, slots=True)
class SynthesisOutput:
    """The output of a step: bytes of the file, and in a chunk's last step its end."""

    audio: bytes = b""
    done: voice_pb2.ChunkDone | None = None


class SynthesisSession:
    """Synthesizes the chunks of one call into one file.

    Args:
        info: the properties of the synthesis model.
        form: the requested format of the audio.
        live: whether it is played while it is made: the default encoding is then PCM.
        clone_of: returns a cloned voice by its id.
        call: its meter counts the sent audio.

    Raises:
        ServiceError: INVALID_REQUEST for a rate that the encoding does not support.
    """

    def __init__(
        self,
        *,
        info: SpeakerInfo,
        form: voice_pb2.AudioForm,
        live: bool,
        clone_of: Callable[[str], ClonedVoice],
        call: GrantedCall,
    ) -> None:
        encoding = form.encoding or (voice_pb2.AUDIO_ENCODING_PCM if live else voice_pb2.AUDIO_ENCODING_WAV)
        kind = ENCODINGS[encoding]
        try:
            rate = pick_rate(kind, requested=form.sample_rate, own=info.sample_rate)
        except ValueError as error:
            raise invalid("audio.sample_rate", str(error)) from None
        self.info = voice_pb2.AudioInfo(encoding=encoding, content_type=kind.content_type, sample_rate=rate)
        """The format of the audio."""
        self.states_length = kind.states_length
        """True if the beginning of the file states its length, or that it is unknown."""
        self.capped = False
        """True if a budget or the request's own bound has stopped it."""
        self._speaker_info = info
        self._clone_of = clone_of
        self._call = call
        self._meter = call.meter
        self._joiner = Joiner(sample_rate=info.sample_rate)
        self._encoder = StreamEncoder(encoding=kind, source_rate=info.sample_rate, rate=rate)
        self._counted_ms = 0

    @property
    def audio_ms(self) -> int:
        """The length of the audio so far, in milliseconds."""
        return self._counted_ms

    async def speak(self, number: int, chunk: Chunk, *, speaker: Speaker) -> AsyncGenerator[SynthesisOutput, None]:
        """Yield the audio of a chunk as the model makes it, then its end. Stops early, with `capped` set, where
        no more can be reserved.

        Raises ServiceError; BUDGET_EXHAUSTED if the budget does not cover the call's first chunk.
        """
        if not await self._call.reserve(UNIT_CHARACTERS, chunk.characters):
            if not self._counted_ms:
                self._meter.add(UNIT_CHARACTERS, chunk.characters)
            self._stop_at_cap()
            return
        start_ms = self._counted_ms
        counted = False
        for item in chunk.items:
            if isinstance(item, Pause):
                audio = await self._encoded(self._joiner.pause(item.milliseconds))
                if audio:
                    yield SynthesisOutput(audio)
            elif isinstance(item, Say):
                async with aclosing(self._synthesize(item, speaker)) as pieces:
                    async for samples in pieces:
                        if not counted:
                            counted = True
                            self._meter.take(UNIT_CHARACTERS, chunk.characters)
                        audio = await self._encoded(samples)
                        if audio:
                            yield SynthesisOutput(audio)
                        if self.capped:
                            return
            if self.capped:
                return
        yield SynthesisOutput(
            done=voice_pb2.ChunkDone(
                chunk=number,
                first_character=chunk.first_character,
                characters=chunk.characters,
                start_ms=start_ms,
                duration_ms=self._counted_ms - start_ms,
            )
        )

    def discard_pending(self) -> None:
        """Discard audio that was not sent, after an interrupted utterance."""
        self._joiner = Joiner(sample_rate=self._speaker_info.sample_rate)

    def finish(self) -> bytes:
        """Return the rest of the file."""
        return self._encoder.finish()

    def final_header(self) -> bytes:
        """Return the header of the finished file, with its length, to put over the one that it began with."""
        return self._encoder.final_header()

    async def _synthesize(self, item: Say, speaker: Speaker) -> AsyncGenerator[Samples, None]:
        utterance = self._supported(item.utterance)
        if is_clone(utterance.voice):
            utterance = replace(utterance, clone=self._clone_of(utterance.voice))
        self._joiner.begin(volume_db=item.volume_db)
        async with aclosing(_read_ahead(speaker.speak(utterance))) as pieces:
            async for samples in pieces:
                yield self._joiner.feed(samples)
        yield self._joiner.end()

    def _supported(self, utterance: Utterance) -> Utterance:
        """Return the utterance with the prosody that the model supports. Emotions use the supported part of theirs."""
        follows = self._speaker_info.prosody
        missing = {"speed", "pitch", "pitch_range", "emphasis"} - follows
        if not missing:
            return utterance
        neutral = {name: getattr(_NEUTRAL, name) for name in missing}
        return replace(utterance, prosody=replace(utterance.prosody, **neutral))

    async def _encoded(self, samples: Samples) -> bytes:
        """Meter samples, encode those that are paid for, and return the bytes that are ready."""
        whole = self._encoder.samples_in + len(samples)
        ends_ms = whole * 1000 // self._speaker_info.sample_rate
        # How long a text is as speech is known once it is spoken.
        await self._call.reserve(UNIT_AUDIO_MILLISECONDS, ends_ms - self._counted_ms)
        paid = self._meter.take(UNIT_AUDIO_MILLISECONDS, ends_ms - self._counted_ms)
        if paid < ends_ms - self._counted_ms:
            self._stop_at_cap()
            whole = (self._counted_ms + paid) * self._speaker_info.sample_rate // 1000
            samples = samples[: max(0, whole - self._encoder.samples_in)]
        self._counted_ms += paid
        return self._encoder.feed(samples) if len(samples) else b""

    def _stop_at_cap(self) -> None:
        self.capped = True
        self._meter.capped = True


async def _read_ahead(pieces: AsyncGenerator[Samples, None]) -> AsyncGenerator[Samples, None]:
    """Yield samples that are buffered as fast as they are made: a slow reader holds audio, not the model."""
    taken: asyncio.Queue[Samples | None] = asyncio.Queue()

    async def take() -> None:
        try:
            async with aclosing(pieces):
                async for samples in pieces:
                    taken.put_nowait(samples)
        finally:
            taken.put_nowait(None)

    buffering = asyncio.create_task(take(), name="voice-read-ahead")
    try:
        while (samples := await taken.get()) is not None:
            yield samples
        await buffering
    finally:
        buffering.cancel()
        await asyncio.gather(buffering, return_exceptions=True)


def check_supported_controls(speaker: SpeakerInfo, controls: voice_pb2.SpeechControls, *, model: str) -> None:
    """Refuse requested controls that the model does not support."""
    for name, requested in (("speed", controls.speed not in (0, 1)), ("pitch", controls.pitch != 0)):
        if requested and name not in speaker.prosody:
            raise ServiceError(
                Reason.UNSUPPORTED_CAPABILITY,
                f"controls.{name}: not supported by the model {model!r}; leave it out, or use another model",
            )
