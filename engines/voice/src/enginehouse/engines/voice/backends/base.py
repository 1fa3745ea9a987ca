"""What a runtime is to the voice engine.

A `VoiceBackend` loads models; a loaded model synthesizes (`Speaker`), recognises (`Recogniser`) or both. None of them
knows of gRPC calls, grants, prices, queues, SSML or file formats: the service has planned the text, decoded the audio,
and accounts for the output. All of them raise `enginehouse.kit.errors.ServiceError` and nothing else.

Samples are one-dimensional arrays of 16-bit integers, one channel.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from enginehouse.kit.catalog import CatalogModel

Samples: TypeAlias = npt.NDArray[np.int16]

# A request that speaks waits for its reader most of the time, and holds the model for one utterance after the other.
_REQUESTS_PER_VOICE = 16


class Gender(enum.Enum):
    """How a voice sounds."""

    UNKNOWN = ""
    FEMALE = "female"
    MALE = "male"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceInfo:
    """A voice that a model has by itself."""

    voice_id: str
    """What requests name it by; unique within the model."""
    name: str
    """What people call it."""
    languages: Sequence[str]
    """BCP 47 tags, its own first."""
    gender: Gender = Gender.UNKNOWN
    """How it sounds."""
    style: str = ""
    """What kind of voice it is, in one word; empty for a plain one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedVoice:
    """A voice that somebody made from a recording."""

    voice_id: str
    """What requests name it by."""
    language: str
    """The language of the recording."""
    sample: Path
    """The recording: a WAV file, 16 bits, one channel, 24,000 samples a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prosody:
    """How something is said, relative to the voice's own way."""

    speed: float = 1.0
    """Times as fast; 0.25 to 4."""
    pitch: float = 0.0
    """Semitones; -12 to 12."""
    pitch_range: float = 1.0
    """Times as lively a melody; 0 is monotone."""
    emphasis: float = 0.0
    """-1 (reduced) to 2 (strong)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A sentence or less, to be said in one go."""

    text: str
    """What is said, numbers written out; never empty."""
    language: str
    """A BCP 47 tag."""
    voice: str
    """The voice's id; empty takes the model's own for the language."""
    clone: ClonedVoice | None = None
    """Set if the voice was made from a recording."""
    prosody: Prosody = field(default_factory=Prosody)
    """How."""
    spell: bool = False
    """Say it letter by letter."""


class Speaker(Protocol):
    """A model that speaks, any number of utterances at once on one event loop."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of what it makes."""

    @property
    def slots(self) -> int:
        """The number of utterances it speaks at once."""

    @property
    def voices(self) -> Sequence[VoiceInfo]:
        """Its own voices, by id."""

    @property
    def clones(self) -> bool:
        """Return whether it can speak with a voice made from a recording."""

    @property
    def languages(self) -> Sequence[str]:
        """The primary subtags of the languages that it speaks, such as "en" and "te"."""

    @property
    def max_text_length(self) -> int:
        """The most characters of an utterance; longer texts are split before they come here."""

    @property
    def prosody(self) -> frozenset[str]:
        """The fields of `Prosody` that it follows; the others are for the engine to make up for or to refuse."""

    def check_voice(self, voice: str, language: str) -> None:
        """Raise INVALID_REQUEST, naming `controls.voice` or `controls.language`, where it has no such voice.

        Args:
            voice: one of its own, or another name for one; never empty.
            language: a BCP 47 tag; empty for any.
        """

    def speak(self, utterance: Utterance) -> AsyncGenerator[Samples, None]:
        """Yield the audio of an utterance as it is made. Closing the generator ends the work at once.

        Raises INVALID_REQUEST (naming `controls.voice` or `controls.language`), BACKEND_FAILED.
        """

    async def close(self) -> None:
        """End what runs and frees the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognizedWord:
    """A word that was heard."""

    word: str
    """The word."""
    start_ms: int
    """When it begins, from the first sample given."""
    end_ms: int
    """When it ends."""
    confidence: float
    """0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of speech, a sentence or less."""

    text: str
    """What was said."""
    start_ms: int
    """When it begins, from the first sample given."""
    end_ms: int
    """When it ends."""
    confidence: float
    """0 to 1."""
    words: Sequence[RecognizedWord] = ()
    """Its words, where they were asked for."""
    language: str = ""
    """The language, as a BCP 47 tag, where the model detected it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognitionOptions:
    """How to listen."""

    language: str = ""
    """A BCP 47 tag; empty detects it where the model can."""
    word_times: bool = False
    """True if the words' times are wanted."""
    translate: bool = False
    """True if it is to be written down in English."""
    prompt: str = ""
    """Words that are likely, for models that take a hint."""


class LiveUtterance(Protocol):
    """An utterance that is listened to while it is spoken; its times count from its first sample."""

    async def feed(self, samples: Samples, *, interim: bool) -> Segment | None:
        """Take the next samples. With `interim`, what is understood so far, where that has changed; else None."""

    async def finish(self) -> Segment | None:
        """What was said, once all of it was fed; None for nothing."""


class Recogniser(Protocol):
    """A model that listens, to any number of recordings at once on one event loop."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of what it takes."""

    @property
    def slots(self) -> int:
        """The number of recordings it listens to at once."""

    @property
    def languages(self) -> Sequence[str]:
        """The primary subtags of the languages that it understands."""

    @property
    def translates(self) -> bool:
        """Return whether it can write down in English what was said in another language."""

    def transcribe(self, audio: AsyncIterator[Samples], options: RecognitionOptions) -> AsyncGenerator[Segment, None]:
        """Yield what was said, stretch by stretch, each once and in order, while it takes the audio in.

        It reads no further ahead than it works. Closing the generator ends the work at once. Raises INVALID_REQUEST
        (naming `options.language`), BACKEND_FAILED.
        """

    def live(self, options: RecognitionOptions) -> AbstractAsyncContextManager[LiveUtterance]:
        """One utterance that is still going on. Leaving the block without `finish` drops it. Raises as `transcribe`."""

    async def close(self) -> None:
        """End what runs and frees the model."""


@dataclass(frozen=True, slots=True)
class LoadedVoiceModel:
    """What a catalog entry became."""

    speaker: Speaker | None = None
    """Set if it speaks."""
    recogniser: Recogniser | None = None
    """Set if it listens."""

    @property
    def slots(self) -> int:
        """The number of requests it works on at once."""
        speaking = 0 if self.speaker is None else self.speaker.slots * _REQUESTS_PER_VOICE
        return speaking + (0 if self.recogniser is None else self.recogniser.slots)

    async def close(self) -> None:
        """End what runs and frees the model."""
        for part in (self.speaker, self.recogniser):
            if part is not None:
                await part.close()


class VoiceBackend(Protocol):
    """A runtime: loads the models whose catalog entry names it. Constructed by `__main__` with what it needs."""

    @property
    def name(self) -> str:
        """The catalog's word for it: "espeak-ng", "pocketsphinx", "xtts", "faster-whisper" or "openai-whisper"."""

    async def load(self, model: CatalogModel) -> LoadedVoiceModel:
        """Load a model by its `source` and `options` (the backend checks those itself).

        Raises WEIGHTS_ABSENT, naming the weights and the command that fetches them; INVALID_REQUEST for options it
        does not know; BACKEND_FAILED for weights that it cannot load.
        """
