"""The interfaces of a speech runtime.

A `VoiceBackend` inspects and loads models; a loaded model synthesizes (`Speaker`), recognises (`Recogniser`) or both;
what is known of them without loading is in `SpeakerInfo` and `RecogniserInfo`. None of them
knows of gRPC calls, grants, prices, queues, SSML or file formats: the service has planned the text, decoded the audio,
and accounts for the output. All of them raise `enginehouse.kit.errors.ServiceError` and nothing else.

Samples are one-dimensional arrays of 16-bit integers, one channel.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.tasks import close_all

Samples: TypeAlias = npt.NDArray[np.int16]

# A synthesis request waits for its reader most of the time, and uses the model one utterance at a time.
_REQUESTS_PER_VOICE = 16


class Gender(enum.Enum):
    """The gender of a voice."""

    UNKNOWN = ""
    FEMALE = "female"
    MALE = "male"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceInfo:
    """A model's own voice."""

    voice_id: str
    """The id in requests; unique within the model."""
    name: str
    """The name for people."""
    languages: Sequence[str]
    """BCP 47 tags, its own first."""
    gender: Gender = Gender.UNKNOWN
    """Its gender."""
    style: str = ""
    """Its style in one word; empty for a plain voice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedVoice:
    """A voice cloned from a recording."""

    voice_id: str
    """The id in requests."""
    language: str
    """The language of the recording."""
    sample: Path
    """The recording: a WAV file, 16 bits, one channel, 24,000 samples a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prosody:
    """The prosody of an utterance, relative to the voice's own."""

    speed: float = 1.0
    """Factor of the speed; 0.25 to 4."""
    pitch: float = 0.0
    """Change of pitch in semitones; -12 to 12."""
    pitch_range: float = 1.0
    """Factor of the pitch range; 0 is monotone."""
    emphasis: float = 0.0
    """Level of emphasis, -1 (reduced) to 2 (strong)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A sentence or less, synthesized in one go."""

    text: str
    """The normalized text; never empty."""
    language: str
    """A BCP 47 tag."""
    voice: str
    """The voice's id; empty picks the model's own for the language, and a variant alone ("+f3") that one's."""
    clone: ClonedVoice | None = None
    """Set if the voice is cloned from a recording."""
    prosody: Prosody = field(default_factory=Prosody)
    """The prosody."""
    spell: bool = False
    """True to spell it letter by letter."""


class SpeakerInfo(Protocol):
    """The properties of a speech synthesis model that are known without loading it."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of its output."""

    @property
    def slots(self) -> int:
        """The number of utterances that it synthesizes at once."""

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        """Its own voices, by id."""

    @property
    def clones(self) -> bool:
        """True if it can speak with a voice cloned from a recording."""

    @property
    def languages(self) -> Sequence[str]:
        """The primary subtags of the languages that it speaks, such as "en" and "te"."""

    @property
    def max_text_length(self) -> int:
        """The maximum length of an utterance in characters; longer texts are split beforehand."""

    @property
    def prosody(self) -> frozenset[str]:
        """The fields of `Prosody` that it supports; the engine makes up for the others or refuses them."""

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names of voices, each for an id, or for a variant alone ("+f2")."""

    @property
    def variants(self) -> Sequence[str]:
        """The variants that go with every voice, such as "f3"; `voices` has each voice with each of them."""


class Speaker(Protocol):
    """A loaded speech synthesis model, for any number of concurrent utterances on one event loop."""

    @property
    def info(self) -> SpeakerInfo:
        """Its properties."""

    def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        """Yield the audio of an utterance as it is made. Closing the generator cancels the work at once.

        Raises INVALID_REQUEST (naming `controls.voice` or `controls.language`), BACKEND_FAILED.
        """

    async def close(self) -> None:
        """Cancel running work and free the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizedWord:
    """A recognized word with its times."""

    word: str
    """The word."""
    start_ms: int
    """Its beginning, in milliseconds from the first sample."""
    end_ms: int
    """Its end, in milliseconds from the first sample."""
    confidence: float
    """0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A recognized segment of speech: a sentence or less."""

    text: str
    """The transcription."""
    start_ms: int
    """Its beginning, in milliseconds from the first sample."""
    end_ms: int
    """Its end, in milliseconds from the first sample."""
    confidence: float
    """0 to 1."""
    words: Sequence[RecognizedWord] = ()
    """Its words, if they were requested."""
    language: str = ""
    """The language, as a BCP 47 tag, if the model detected it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognitionOptions:
    """Options of a recognition."""

    language: str = ""
    """A BCP 47 tag; empty detects it if the model can."""
    word_times: bool = False
    """True to return the times of words."""
    translate: bool = False
    """True to translate to English."""
    prompt: str = ""
    """Likely words, for models that take a hint."""


class LiveUtterance(Protocol):
    """An utterance that is recognized while it is spoken; its times count from its first sample."""

    async def feed(self, samples: Samples, *, interim: bool) -> Segment | None:
        """Take the next samples. With `interim`, return the interim result if it has changed; else None."""

    async def finish(self) -> Segment | None:
        """Return the final result, after all samples were fed; None if nothing was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecogniserInfo:
    """The properties of a speech recognition model that are known without loading it."""

    sample_rate: int
    """Samples a second of its input."""
    slots: int
    """The number of recordings that it recognizes at once."""
    languages: Sequence[str]
    """The primary subtags of the languages that it recognizes."""
    translates: bool = False
    """True if it can translate speech to English."""
    times_words: bool = True
    """True if it can say when each word was spoken."""


class Recogniser(Protocol):
    """A loaded speech recognition model, for any number of concurrent recordings on one event loop."""

    @property
    def info(self) -> RecogniserInfo:
        """Its properties."""

    def transcribe(self, audio: AsyncIterator[Samples], options: RecognitionOptions) -> AsyncGenerator[Segment, None]:
        """Yield the segments of a recording, each once and in order, while it reads the audio.

        It reads no further ahead than it works. Closing the generator cancels the work at once. Raises INVALID_REQUEST
        (naming `options.language`), BACKEND_FAILED.
        """

    def live(self, options: RecognitionOptions) -> AbstractAsyncContextManager[LiveUtterance]:
        """Begin a live utterance. Leaving the block without `finish` drops it. Raises as `transcribe`."""

    async def close(self) -> None:
        """Cancel running work and free the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceModelInfo:
    """The properties of a model of the catalog that are known without loading it."""

    memory_bytes: int
    """An estimate of the memory that it takes once loaded."""
    speaker: SpeakerInfo | None = None
    """Set if it synthesizes speech."""
    recogniser: RecogniserInfo | None = None
    """Set if it recognizes speech."""

    @property
    def slots(self) -> int:
        """The number of requests that it serves at once."""
        speaking = 0 if self.speaker is None else self.speaker.slots * _REQUESTS_PER_VOICE
        return speaking + (0 if self.recogniser is None else self.recogniser.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVoiceModel:
    """A loaded model of the catalog."""

    info: VoiceModelInfo
    """Its properties."""
    speaker: Speaker | None = None
    """Set if it synthesizes speech."""
    recogniser: Recogniser | None = None
    """Set if it recognizes speech."""

    async def close(self) -> None:
        """Cancel running work and free the model."""
        await close_all(*(part.close for part in (self.speaker, self.recogniser) if part is not None))


class VoiceBackend(Protocol):
    """A runtime, which loads the models whose catalog entry names it."""

    @property
    def name(self) -> str:
        """The catalog's name for it: "espeak-ng", "piper", "pocketsphinx", "xtts", "faster-whisper" or
        "openai-whisper"."""

    async def inspect(self, model: CatalogModel) -> VoiceModelInfo:
        """Return the properties of a model by its `source` and `options`, without loading it.

        Raises WEIGHTS_ABSENT, naming the weights and the command that fetches them; INVALID_REQUEST for unknown
        options, which the backend checks itself.
        """

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Load a model. Raises as `inspect` does, and BACKEND_FAILED for weights that it cannot load."""
