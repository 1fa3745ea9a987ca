"""Requests for speech and voices, whose words become the contract's enumerations."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, TypedDict, TypeVar, Unpack

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.client._connection import Metadata

Recording: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str]
"""A recording's bytes, or the path of its file."""

Word = TypeVar("Word")

MODEL_HEADER = "x-enginehouse-ask-model"
LANGUAGE_HEADER = "x-enginehouse-language"
VOICE_HEADER = "x-enginehouse-voice"
CHARACTERS_HEADER = "x-enginehouse-max-characters"
SECONDS_HEADER = "x-enginehouse-max-audio-seconds"

MAX_RECORDING_BYTES = 25 * 2**20
"""The largest recording that can be transcribed."""
MAX_SAMPLE_BYTES = 10 * 2**20
"""The largest recording that a voice can be created from."""

# The contract allows 1 MiB a message; smaller ones are transcribed sooner.
_MAX_AUDIO_MESSAGE_BYTES = 64 * 1024

ENCODINGS: Mapping[str, voice_pb2.AudioEncoding.ValueType] = MappingProxyType(
    {name.removeprefix("AUDIO_ENCODING_").lower(): value for name, value in voice_pb2.AudioEncoding.items() if value}
)
"""The encodings of audio: wav, mp3, opus, aac, flac, pcm."""

EMOTIONS: Mapping[str, voice_pb2.Emotion.ValueType] = MappingProxyType(
    {name.removeprefix("EMOTION_").lower(): value for name, value in voice_pb2.Emotion.items() if value}
)
"""The emotions of a voice."""

GENDERS: Mapping[str, voice_pb2.Gender.ValueType] = MappingProxyType(
    {name.removeprefix("GENDER_").lower(): value for name, value in voice_pb2.Gender.items() if value}
)
"""The genders of a voice."""


class SpeechOptions(TypedDict, total=False):
    """The keyword arguments that `speak` and `converse` share, all optional.

    model: a speech model's name, or "auto" (the default).
    voice: a voice's id, as `voices` lists it; the default is the model's own voice for the language.
    language: the text's language as a BCP 47 tag; the default is detected by its script.
    speed: 0.25 to 4, where 1 is the voice's own pace.
    pitch: semitones up or down, -12 to 12.
    volume_db: decibels louder or softer, -40 to 12.
    emotion: "neutral", "happy", "sad", "angry", "excited", "tender" or "fearful".
    lexicon: pronunciations of words, such as {"NASA": "nassa"}.
    verbatim: leave numbers, dates and currencies to the voice, without writing them out as words first.
    encoding: "wav" (the default of `speak`), "mp3", "opus", "aac", "flac" or "pcm" (the default of `converse`).
    sample_rate: samples a second; the default is the rate nearest to the model's own.
    """

    model: str
    voice: str
    language: str
    speed: float
    pitch: float
    volume_db: float
    emotion: str
    lexicon: Mapping[str, str]
    verbatim: bool
    encoding: str
    sample_rate: int


def synthesize(
    text: str | None, *, ssml: str | None, first_chunk: int, request_id: str, **options: Unpack[SpeechOptions]
) -> voice_pb2.SynthesizeRequest:
    """Return the request to speak.

    Raises:
        ValueError: not exactly one of text and ssml is given, or an option has an unknown value.
    """
    if (text is None) == (ssml is None):
        raise ValueError("give exactly one of text and ssml")
    request = voice_pb2.SynthesizeRequest(
        request_id=request_id,
        model=options.get("model", "auto"),
        controls=_controls(options),
        audio=_audio_format(options),
        first_chunk=first_chunk,
    )
    if text is not None:
        request.text = text
    elif ssml is not None:
        request.ssml = ssml
    return request


def plan_speech(
    text: str | None, *, ssml: str | None, request_id: str, **options: Unpack[SpeechOptions]
) -> voice_pb2.PlanSpeechRequest:
    """Return the request for the words of a speech.

    Raises:
        ValueError: not exactly one of text and ssml is given, or an option has an unknown value.
    """
    speech = synthesize(text, ssml=ssml, first_chunk=0, request_id=request_id, **options)
    request = voice_pb2.PlanSpeechRequest(request_id=request_id, model=speech.model, controls=speech.controls)
    if ssml is None:
        request.text = speech.text
    else:
        request.ssml = ssml
    return request


def conversation(*, request_id: str, **options: Unpack[SpeechOptions]) -> voice_pb2.ConverseRequest:
    """Return a conversation's first message. Raise ValueError for an option with an unknown value."""
    config = voice_pb2.ConverseConfig(request_id=request_id, controls=_controls(options), audio=_audio_format(options))
    return voice_pb2.ConverseRequest(config=config)


def recognize(
    recording: Recording,
    *,
    request_id: str,
    model: str,
    options: voice_pb2.RecognitionOptions,
) -> voice_pb2.RecognizeRequest:
    """Return the request to transcribe a recording.

    Raises:
        OSError: the recording's file cannot be read.
        ValueError: the recording is too large.
    """
    audio = read_recording(recording, max_bytes=MAX_RECORDING_BYTES)
    return voice_pb2.RecognizeRequest(request_id=request_id, model=model, options=options, audio=audio)


def streaming_recognize(
    *,
    request_id: str,
    options: voice_pb2.RecognitionOptions,
    sample_rate: int,
    interim: bool,
    end_silence_ms: int,
    single_utterance: bool,
) -> voice_pb2.StreamingRecognizeRequest:
    """Return the first message of a live transcription."""
    return voice_pb2.StreamingRecognizeRequest(
        config=voice_pb2.StreamingRecognizeConfig(
            request_id=request_id,
            options=options,
            sample_rate=sample_rate,
            interim_results=interim,
            end_silence_ms=end_silence_ms,
            single_utterance=single_utterance,
        )
    )


def audio_messages(audio: bytes) -> Iterator[voice_pb2.StreamingRecognizeRequest]:
    """Yield the audio in messages of a size that the contract allows."""
    for start in range(0, len(audio), _MAX_AUDIO_MESSAGE_BYTES):
        yield voice_pb2.StreamingRecognizeRequest(audio=bytes(audio[start : start + _MAX_AUDIO_MESSAGE_BYTES]))


def list_voices(*, language: str, gender: str, style: str, model: str, cloned: bool) -> voice_pb2.ListVoicesRequest:
    """Return the request for a page of voices. Raise ValueError for an unknown gender."""
    return voice_pb2.ListVoicesRequest(
        language=language,
        gender=_value("gender", gender, GENDERS) if gender else voice_pb2.GENDER_UNSPECIFIED,
        style=style,
        model=model,
        cloned=cloned,
        page_size=1000,
    )


def create_voice(
    name: str,
    sample: Recording,
    *,
    language: str,
    speaker: str,
    statement: str,
    confirmed: bool,
    model: str,
    gender: str,
    description: str,
) -> voice_pb2.CreateVoiceRequest:
    """Return the request to create a voice.

    Raises:
        OSError: the recording's file cannot be read.
        ValueError: the recording is too large, or the gender unknown.
    """
    return voice_pb2.CreateVoiceRequest(
        model=model,
        name=name,
        sample=read_recording(sample, max_bytes=MAX_SAMPLE_BYTES),
        consent=voice_pb2.Consent(speaker=speaker, statement=statement, confirmed=confirmed),
        language=language,
        gender=_value("gender", gender, GENDERS) if gender else voice_pb2.GENDER_UNSPECIFIED,
        description=description,
    )


def routing_metadata(
    *,
    model: str = "",
    language: str = "",
    voice: str = "",
    max_characters: int | None = None,
    max_audio_seconds: int | None = None,
) -> Metadata:
    """Return the headers by which the router decides about a call before it has any message.

    Raises:
        ValueError: the model's name does not fit into a header.
    """
    headers = []
    if model:
        if not _fits_header(model):
            raise ValueError(f"invalid model {model[:64]!r}: expected a model's name in printable ASCII without spaces")
        headers.append((MODEL_HEADER, model))
    # The call's first message has these too, and the engine refuses what is no name.
    headers += [
        (header, name) for header, name in ((LANGUAGE_HEADER, language), (VOICE_HEADER, voice)) if _fits_header(name)
    ]
    for header, bound in ((CHARACTERS_HEADER, max_characters), (SECONDS_HEADER, max_audio_seconds)):
        if bound is not None:
            headers.append((header, str(bound)))
    return tuple(headers)


def _fits_header(name: str) -> bool:
    return bool(name) and name.isascii() and name.isprintable() and " " not in name


def read_recording(recording: Recording, *, max_bytes: int) -> bytes:
    """Return a recording's bytes.

    Raises:
        OSError: the recording's file cannot be read.
        ValueError: the recording is larger than `max_bytes`.
    """
    if isinstance(recording, bytes | bytearray | memoryview):
        audio, name = bytes(recording), "the recording"
    else:
        path = Path(recording)
        with path.open("rb") as file:
            # One byte more than allowed: a larger file is refused without reading all of it.
            audio, name = file.read(max_bytes + 1), str(path)
    if len(audio) > max_bytes:
        raise ValueError(f"{name} has more than {max_bytes // 2**20} MiB; send a shorter or a compressed one")
    return audio


def _controls(options: SpeechOptions) -> voice_pb2.SpeechControls:
    emotion = options.get("emotion", "")
    return voice_pb2.SpeechControls(
        voice=options.get("voice", ""),
        language=options.get("language", ""),
        speed=options.get("speed", 0.0),
        pitch=options.get("pitch", 0.0),
        volume_db=options.get("volume_db", 0.0),
        emotion=_value("emotion", emotion, EMOTIONS) if emotion else voice_pb2.EMOTION_UNSPECIFIED,
        lexicon=[voice_pb2.Pronunciation(word=word, say=say) for word, say in options.get("lexicon", {}).items()],
        verbatim=options.get("verbatim", False),
    )


def _audio_format(options: SpeechOptions) -> voice_pb2.AudioForm:
    encoding = options.get("encoding", "")
    return voice_pb2.AudioForm(
        encoding=_value("encoding", encoding, ENCODINGS) if encoding else voice_pb2.AUDIO_ENCODING_UNSPECIFIED,
        sample_rate=options.get("sample_rate", 0),
    )


def _value(name: str, word: str, known: Mapping[str, Word]) -> Word:
    if word not in known:
        raise ValueError(f"unknown {name} {word!r}: expected one of {', '.join(known)}")
    return known[word]
