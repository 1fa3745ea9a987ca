"""One call's audio: utterances spoken one after the other into one file, counted before they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from enginehouse.api.common.v1.usage_pb2 import UNIT_AUDIO_MILLISECONDS, UNIT_CHARACTERS
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.audio import Encoding, Joiner, StreamEncoder, pick_rate
from enginehouse.engines.voice.backends.base import ClonedVoice, Prosody, Samples, Speaker, Utterance
from enginehouse.engines.voice.text import Chunk, Pause, Say
from enginehouse.engines.voice.voices.library import is_clone
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.usage.meter import Meter
from enginehouse.kit.validation import invalid

ENCODINGS = {
    voice_pb2.AUDIO_ENCODING_WAV: Encoding.WAV,
    voice_pb2.AUDIO_ENCODING_MP3: Encoding.MP3,
    voice_pb2.AUDIO_ENCODING_OPUS: Encoding.OPUS,
    voice_pb2.AUDIO_ENCODING_AAC: Encoding.AAC,
    voice_pb2.AUDIO_ENCODING_FLAC: Encoding.FLAC,
    voice_pb2.AUDIO_ENCODING_PCM: Encoding.PCM,
}
"""The contract's encodings by the codecs' words."""

_NEUTRAL = Prosody()


@dataclass(frozen=True, slots=True)
class SynthesisOutput:
    """What a step of speaking gave: bytes of the file, and in a chunk's last step, that it is done."""

    audio: bytes = b""
    done: voice_pb2.ChunkDone | None = None


class SynthesisSession:
    """Speaks chunks into a file.

    Args:
        speaker: who speaks.
        form: the form of the audio, as it was asked for.
        live: whether somebody listens while it is made: the form is then PCM unless it is said.
        clone_of: what the model needs to speak with a voice that somebody made, by its id.
        meter: counts what is sent.

    Raises:
        ServiceError: INVALID_REQUEST for a rate that the encoding does not know.
    """

    def __init__(
        self,
        *,
        speaker: Speaker,
        form: voice_pb2.AudioForm,
        live: bool,
        clone_of: Callable[[str], ClonedVoice],
        meter: Meter,
    ) -> None:
        encoding = form.encoding or (voice_pb2.AUDIO_ENCODING_PCM if live else voice_pb2.AUDIO_ENCODING_WAV)
        kind = ENCODINGS[encoding]
        try:
            rate = pick_rate(kind, asked=form.sample_rate, own=speaker.sample_rate)
        except ValueError as error:
            raise invalid("audio.sample_rate", str(error)) from None
        self.info = voice_pb2.AudioInfo(encoding=encoding, content_type=kind.content_type, sample_rate=rate)
        """The form of the audio."""
        self.capped = False
        """True if the grant's cap has ended it."""
        self._speaker = speaker
        self._clone_of = clone_of
        self._meter = meter
        self._joiner = Joiner(sample_rate=speaker.sample_rate)
        self._encoder = StreamEncoder(encoding=kind, source_rate=speaker.sample_rate, rate=rate)
        self._counted_ms = 0

    @property
    def audio_ms(self) -> int:
        """How long the audio is so far, in milliseconds."""
        return self._counted_ms

    async def speak(self, number: int, chunk: Chunk) -> AsyncGenerator[SynthesisOutput, None]:
        """Yield the audio of a chunk as it is made, and that it is done. Ends early, `capped`, at the grant's cap.

        Raises ServiceError; BUDGET_EXHAUSTED where not even the call's first chunk is paid for.
        """
        if self._meter.would_exceed(UNIT_CHARACTERS, chunk.characters):
            if not self._counted_ms:
                self._meter.add(UNIT_CHARACTERS, chunk.characters)
            self._cap()
            return
        begun = self._counted_ms
        counted = False
        for item in chunk.items:
            if isinstance(item, Pause):
                audio = self._encoded(self._joiner.pause(item.milliseconds))
                if audio:
                    yield SynthesisOutput(audio)
            elif isinstance(item, Say):
                async with aclosing(self._say(item)) as pieces:
                    async for samples in pieces:
                        if not counted:
                            counted = True
                            self._meter.take(UNIT_CHARACTERS, chunk.characters)
                        audio = self._encoded(samples)
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
                start_ms=begun,
                duration_ms=self._counted_ms - begun,
            )
        )

    def drop(self) -> None:
        """Forget what was spoken and not sent, after an utterance that was broken off."""
        self._joiner = Joiner(sample_rate=self._speaker.sample_rate)

    def finish(self) -> bytes:
        """The rest of the file."""
        return self._encoder.finish()

    async def _say(self, item: Say) -> AsyncGenerator[Samples, None]:
        utterance = self._followed(item.utterance)
        if is_clone(utterance.voice):
            utterance = replace(utterance, clone=self._clone_of(utterance.voice))
        self._joiner.begin(volume_db=item.volume_db)
        async with aclosing(_read_ahead(self._speaker.speak(utterance))) as pieces:
            async for samples in pieces:
                yield self._joiner.feed(samples)
        yield self._joiner.end()

    def _followed(self, utterance: Utterance) -> Utterance:
        """The utterance with what the model follows of its prosody. An emotion is spoken by what is left of it."""
        follows = self._speaker.prosody
        missing = {"speed", "pitch", "pitch_range", "emphasis"} - follows
        if not missing:
            return utterance
        kept = {name: getattr(_NEUTRAL, name) for name in missing}
        return replace(utterance, prosody=replace(utterance.prosody, **kept))

    def _encoded(self, samples: Samples) -> bytes:
        """The bytes that are ready once these samples are counted and paid for."""
        whole = self._encoder.samples_in + len(samples)
        ends_ms = whole * 1000 // self._speaker.sample_rate
        paid = self._meter.take(UNIT_AUDIO_MILLISECONDS, ends_ms - self._counted_ms)
        if paid < ends_ms - self._counted_ms:
            self._cap()
            whole = (self._counted_ms + paid) * self._speaker.sample_rate // 1000
            samples = samples[: max(0, whole - self._encoder.samples_in)]
        self._counted_ms += paid
        return self._encoder.feed(samples) if len(samples) else b""

    def _cap(self) -> None:
        self.capped = True
        self._meter.capped = True


async def _read_ahead(pieces: AsyncGenerator[Samples, None]) -> AsyncGenerator[Samples, None]:
    """The pieces, taken as fast as they are made: a slow reader holds an utterance's audio, not the model."""
    taken: asyncio.Queue[Samples | None] = asyncio.Queue()

    async def take() -> None:
        try:
            async with aclosing(pieces):
                async for samples in pieces:
                    taken.put_nowait(samples)
        finally:
            taken.put_nowait(None)

    taking = asyncio.create_task(take(), name="voice-read-ahead")
    try:
        while (samples := await taken.get()) is not None:
            yield samples
        await taking
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


def check_supported_controls(speaker: Speaker, controls: voice_pb2.SpeechControls, *, model: str) -> None:
    """Refuse controls that the model does not follow, where they were asked for by name."""
    for name, asked in (("speed", controls.speed not in (0, 1)), ("pitch", controls.pitch != 0)):
        if asked and name not in speaker.prosody:
            raise ServiceError(
                Reason.UNSUPPORTED_CAPABILITY,
                f"controls.{name}: the model {model!r} has no {name} to set; leave it out, or choose another model",
            )
