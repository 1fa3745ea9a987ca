"""Speech: reading the JSON request into a `SynthesizeRequest`, and writing the answer's bytes or events."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.kit.openai._document import parse
from enginehouse.kit.openai._edge import EVENT_STREAM, BodyPiece
from enginehouse.kit.openai._fields import Fields, refusal, shown, unsupported
from enginehouse.kit.openai.audio._moods import read_moods
from enginehouse.kit.openai.text._output import event

_KNOWN = frozenset(
    {"input", "instructions", "model", "response_format", "speed", "stream_format", "user", "voice",
     "emotion", "input_type", "language", "pitch", "sample_rate", "verbatim", "volume_db"}
)  # fmt: skip
FORMATS = {
    "mp3": voice_pb2.AUDIO_ENCODING_MP3,
    "opus": voice_pb2.AUDIO_ENCODING_OPUS,
    "aac": voice_pb2.AUDIO_ENCODING_AAC,
    "flac": voice_pb2.AUDIO_ENCODING_FLAC,
    "wav": voice_pb2.AUDIO_ENCODING_WAV,
    "pcm": voice_pb2.AUDIO_ENCODING_PCM,
}
"""OpenAI's names of audio encodings."""
EMOTIONS = {name.removeprefix("EMOTION_").lower(): value for name, value in voice_pb2.Emotion.items() if value}
"""Emotions by the names that requests use."""
# The rate of OpenAI's `pcm`, at which its clients play it.
_PCM_RATE = 24_000


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A request for speech."""

    synthesize: voice_pb2.SynthesizeRequest
    """The request to the engine."""
    events: bool
    """Answer with server-sent events instead of the audio's bytes."""


def read_speech(body: bytes) -> SpeechRequest:
    """Read the body of POST /v1/audio/speech; raise ServiceError naming the parameter at fault."""
    fields = Fields(parse(body).value)
    fields.refuse_unknown(_KNOWN)
    fields.text("user")
    request = voice_pb2.SynthesizeRequest(model=fields.required_text("model"))
    said = fields.required_text("input")
    if fields.one_of("input_type", ("text", "ssml")) == "ssml":
        request.ssml = said
    else:
        request.text = said
    controls = request.controls
    controls.voice = _voice(fields)
    controls.language = fields.text("language") or ""
    controls.speed = fields.number("speed", 0.25, 4.0) or 0.0
    controls.pitch = fields.number("pitch", -12, 12) or 0.0
    controls.volume_db = fields.number("volume_db", -40, 12) or 0.0
    controls.verbatim = fields.flag("verbatim")
    emotion = fields.one_of("emotion", tuple(EMOTIONS)) or _mood(fields)
    if emotion:
        controls.emotion = EMOTIONS[emotion]
    form = fields.one_of("response_format", tuple(FORMATS)) or "mp3"
    request.audio.encoding = FORMATS[form]
    request.audio.sample_rate = fields.integer("sample_rate", 8000, 48_000) or (_PCM_RATE if form == "pcm" else 0)
    return SpeechRequest(request, fields.one_of("stream_format", ("audio", "sse")) == "sse")


def speech_piece(response: voice_pb2.SynthesizeResponse, *, content_type: str, events: bool) -> BodyPiece | None:
    """Return the piece of the body for a message of the engine; None if there is none."""
    if not events:
        return (content_type, response.audio) if response.audio else None
    data = b""
    if response.audio:
        data = event({"type": "speech.audio.delta", "audio": base64.b64encode(response.audio).decode()})
    if response.HasField("summary"):
        data += event({"type": "speech.audio.done", "usage": _usage(response.summary.usage)})
    return (EVENT_STREAM, data) if data else None


def _usage(usage: usage_pb2.Usage) -> dict[str, int]:
    amounts = {amount.unit: amount.amount for amount in usage.units}
    characters = amounts.get(usage_pb2.UNIT_CHARACTERS, 0)
    return {
        "input_tokens": characters,
        "output_tokens": 0,
        "total_tokens": characters,
        "audio_milliseconds": amounts.get(usage_pb2.UNIT_AUDIO_MILLISECONDS, 0),
        "cost_nanos": usage.cost_nanos,
    }


def _voice(fields: Fields) -> str:
    value = fields.raw("voice")
    if isinstance(value, dict):
        return fields.required_nested("voice").required_text("id")
    if value is None:
        raise fields.missing("voice")
    if not isinstance(value, str) or not value:
        raise refusal("voice", f"Invalid value for 'voice': {shown(value)} is not the id of a voice.")
    # The model's own voice for the language.
    return "" if value == "auto" else value


def _mood(fields: Fields) -> str:
    """Return the emotion that free instructions ask for; models here follow nothing more, so anything else is an
    error.
    """
    instructions = fields.text("instructions")
    if not instructions:
        return ""
    wanted, unwanted = read_moods(instructions)
    if wanted:
        return wanted[0]
    fault = f"only says how not to speak ({', '.join(unwanted)})" if unwanted else "names no emotion"
    raise unsupported(
        "instructions",
        f"Unsupported value for 'instructions': {shown(instructions)} {fault}; use 'emotion' with one of "
        f"{', '.join(EMOTIONS)}, 'speed', 'pitch' and 'volume_db', or SSML with 'input_type': 'ssml'.",
    )
