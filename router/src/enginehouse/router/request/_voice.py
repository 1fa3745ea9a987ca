"""Requests of voice engines, typed and OpenAI's: what is said or heard, as units with their bounds."""

from __future__ import annotations

from collections.abc import Mapping

from google.api import httpbody_pb2
from google.protobuf.message import DecodeError

from enginehouse.api.common.v1.usage_pb2 import UNIT_AUDIO_MILLISECONDS, UNIT_CHARACTERS
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.media_length import length_bound_ms
from enginehouse.kit.multipart import read_form
from enginehouse.router.request._openai import json_body, model_of
from enginehouse.router.request._request import InferenceRequest, Purpose, needs

MODEL_HEADER = b"x-enginehouse-ask-model"
CHARACTERS_HEADER = b"x-enginehouse-max-characters"
SECONDS_HEADER = b"x-enginehouse-max-audio-seconds"

# Slow speech of long words; numbers that are written out take more, and the cap stops those.
_MS_PER_CHARACTER = 250
_LEAST_SPEED = 0.25
_DEFAULT_CHARACTERS = 20_000
_MOST_CHARACTERS = 500_000
_DEFAULT_SECONDS = 600
_MOST_SECONDS = 4 * 3600


def synthesize(message: bytes, headers: Mapping[bytes, bytes]) -> InferenceRequest:
    """A SynthesizeRequest."""
    request = voice_pb2.SynthesizeRequest()
    _parse(request, message)
    text = request.text or request.ssml
    return _speak(request.model or "auto", len(text), request.controls.speed, request_id=request.request_id)


def recognize(message: bytes, headers: Mapping[bytes, bytes]) -> InferenceRequest:
    """A RecognizeRequest."""
    request = voice_pb2.RecognizeRequest()
    _parse(request, message)
    return _listen(
        request.model or "auto",
        _stated_bound(headers, request.audio),
        translate=request.options.translate,
        request_id=request.request_id,
    )


def converse(headers: Mapping[bytes, bytes]) -> InferenceRequest:
    """A Converse call, of whose messages nothing is known yet."""
    characters = _bound(headers, CHARACTERS_HEADER, _MOST_CHARACTERS) or _DEFAULT_CHARACTERS
    return _speak(_named(headers), characters, 0.0)


def streaming_recognize(headers: Mapping[bytes, bytes]) -> InferenceRequest:
    """A StreamingRecognize call, of whose messages nothing is known yet."""
    seconds = _bound(headers, SECONDS_HEADER, _MOST_SECONDS) or _DEFAULT_SECONDS
    return _listen(_named(headers), seconds * 1000)


def speech(message: bytes, headers: Mapping[bytes, bytes]) -> InferenceRequest:
    """OpenAI's speech."""
    body = json_body(message)
    text, speed = body.get("input"), body.get("speed")
    return _speak(
        model_of(body),
        len(text) if isinstance(text, str) else 0,
        float(speed) if isinstance(speed, int | float) and not isinstance(speed, bool) else 0.0,
    )


def transcription(message: bytes, headers: Mapping[bytes, bytes]) -> InferenceRequest:
    """OpenAI's transcription."""
    return _of_form(message, headers, translate=False)


def translation(message: bytes, headers: Mapping[bytes, bytes]) -> InferenceRequest:
    """OpenAI's translation."""
    return _of_form(message, headers, translate=True)


def _of_form(message: bytes, headers: Mapping[bytes, bytes], *, translate: bool) -> InferenceRequest:
    body = httpbody_pb2.HttpBody()
    _parse(body, message)
    form = read_form(body.content_type, body.data)
    model = form.text("model")
    if not model:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            "model: name a model, or 'auto' to let the router choose",
            violations=[FieldViolation("model", "must be a model's name, or 'auto'")],
        )
    file = form.file("file")
    return _listen(model, _stated_bound(headers, b"" if file is None else file.data), translate=translate)


def _speak(model: str, characters: int, speed: float, *, request_id: str = "") -> InferenceRequest:
    pace = min(max(speed, _LEAST_SPEED), 4.0) if speed > 0 else 1.0
    return InferenceRequest(
        purpose=Purpose.SPEAK,
        model=model,
        capabilities=needs("speech"),
        units={UNIT_CHARACTERS: characters, UNIT_AUDIO_MILLISECONDS: int(characters * _MS_PER_CHARACTER / pace)},
        request_id=request_id,
    )


def _listen(model: str, milliseconds: int, *, translate: bool = False, request_id: str = "") -> InferenceRequest:
    return InferenceRequest(
        purpose=Purpose.LISTEN,
        model=model,
        capabilities=needs("transcription", "translation" if translate else ""),
        units={UNIT_AUDIO_MILLISECONDS: min(milliseconds, _MOST_SECONDS * 1000)},
        request_id=request_id,
    )


def _stated_bound(headers: Mapping[bytes, bytes], audio: bytes | memoryview) -> int:
    """What the caller says, which the cap then holds it to; else what the recording says of itself."""
    seconds = _bound(headers, SECONDS_HEADER, _MOST_SECONDS)
    return seconds * 1000 if seconds else length_bound_ms(audio)


def _named(headers: Mapping[bytes, bytes]) -> str:
    return headers.get(MODEL_HEADER, b"").decode("latin-1") or "auto"


def _bound(headers: Mapping[bytes, bytes], name: bytes, most: int) -> int:
    given = headers.get(name)
    if not given:
        return 0
    if not given.isdigit() or not 1 <= int(given[:9]) <= most:
        field = name.decode()
        description = f"{given[:32].decode('latin-1')!r} must be a whole number from 1 to {most}"
        raise ServiceError(
            Reason.INVALID_REQUEST, f"{field}: {description}", violations=[FieldViolation(field, description)]
        )
    return int(given)


def _parse(
    into: voice_pb2.SynthesizeRequest | voice_pb2.RecognizeRequest | httpbody_pb2.HttpBody, message: bytes
) -> None:
    try:
        into.ParseFromString(message)
    except DecodeError:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"the body is not a valid {into.DESCRIPTOR.name}: it is cut off, of another type, or a string in it is not "
            "UTF-8",
        ) from None
