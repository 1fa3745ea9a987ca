"""Requests of voice engines, typed and OpenAI's: speech and recordings, as units with their bounds."""

from __future__ import annotations

import re

from google.api import httpbody_pb2

from enginehouse.api.common.v1.usage_pb2 import UNIT_AUDIO_MILLISECONDS, UNIT_CHARACTERS
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.kit.media_length import length_bound_ms
from enginehouse.kit.multipart import read_form
from enginehouse.router.request._call import IncomingCall, body_language, required_model
from enginehouse.router.request._request import MAX_DETECTED, InferenceRequest, Task, needs

CHARACTERS_HEADER = b"x-enginehouse-max-characters"
SECONDS_HEADER = b"x-enginehouse-max-audio-seconds"

# Slow speech of long words; numbers that are written out take more, and the cap stops those.
_MS_PER_CHARACTER = 250
_MIN_SPEED = 0.25
_DEFAULT_CHARACTERS = 20_000
_MAX_CHARACTERS = 500_000
_DEFAULT_SECONDS = 600
_MAX_SECONDS = 4 * 3600
_TAG = re.compile(r"<[^>]*>")


def synthesize(call: IncomingCall) -> InferenceRequest:
    """Size a SynthesizeRequest."""
    return _typed_speech(call, call.read(voice_pb2.SynthesizeRequest))


def plan_speech(call: IncomingCall) -> InferenceRequest:
    """Size a PlanSpeechRequest: it goes to the model that the same speech would go to."""
    return _typed_speech(call, call.read(voice_pb2.PlanSpeechRequest))


def _typed_speech(
    call: IncomingCall, request: voice_pb2.SynthesizeRequest | voice_pb2.PlanSpeechRequest
) -> InferenceRequest:
    text, controls = request.text or request.ssml, request.controls
    spoken = _speak(call, request.model or "auto", len(text), controls.speed, request_id=request.request_id)
    spoken.language, spoken.voice = body_language(controls.language), controls.voice
    # Tags say nothing of the language.
    spoken.spoken_text = text[:MAX_DETECTED] if request.text else _TAG.sub(" ", text[: 4 * MAX_DETECTED])
    return spoken


def converse(call: IncomingCall) -> InferenceRequest:
    """Size a Converse call, of whose messages nothing is known yet."""
    named = call.bound(CHARACTERS_HEADER, _MAX_CHARACTERS)
    spoken = _speak(call, call.named_model(), named or _DEFAULT_CHARACTERS, 0.0)
    spoken.bounded = named > 0
    return spoken


def speech(call: IncomingCall) -> InferenceRequest:
    """Size a request for OpenAI's speech."""
    body = call.json()
    text, speed, voice = body.get("input"), body.get("speed"), body.get("voice")
    if not isinstance(text, str):
        text = ""
    if isinstance(voice, dict):
        voice = voice.get("id")
    spoken = _speak(
        call,
        required_model(body.get("model")),
        len(text),
        float(speed) if isinstance(speed, int | float) and not isinstance(speed, bool) else 0.0,
    )
    spoken.language = body_language(body.get("language"))
    # "auto" is the model's own voice.
    spoken.voice = voice if isinstance(voice, str) and voice != "auto" else ""
    spoken.spoken_text = text[:MAX_DETECTED]
    return spoken


def recognize(call: IncomingCall) -> InferenceRequest:
    """Size a RecognizeRequest."""
    request = call.read(voice_pb2.RecognizeRequest)
    return _transcribe(
        call,
        request.model or "auto",
        _stated_bound(call, request.audio),
        capabilities=needs("transcription", "translation" if request.options.translate else ""),
        request_id=request.request_id,
        language=body_language(request.options.language),
    )


def streaming_recognize(call: IncomingCall) -> InferenceRequest:
    """Size a StreamingRecognize call, of whose messages nothing is known yet."""
    milliseconds = (call.bound(SECONDS_HEADER, _MAX_SECONDS) or _DEFAULT_SECONDS) * 1000
    return _transcribe(call, call.named_model(), milliseconds, capabilities=call.method.capabilities)


def transcription(call: IncomingCall) -> InferenceRequest:
    """Size a request for OpenAI's transcription, or translation where the method is for those."""
    body = call.read(httpbody_pb2.HttpBody)
    form = read_form(body.content_type, body.data)
    model = required_model(form.text("model"))
    file = form.file("file")
    milliseconds = _stated_bound(call, b"" if file is None else file.data)
    language = body_language(form.text("language"))
    return _transcribe(call, model, milliseconds, capabilities=call.method.capabilities, language=language)


def _speak(call: IncomingCall, model: str, characters: int, speed: float, *, request_id: str = "") -> InferenceRequest:
    pace = min(max(speed, _MIN_SPEED), 4.0) if speed > 0 else 1.0
    return InferenceRequest(
        task=Task.SPEAK,
        model=model,
        capabilities=call.method.capabilities,
        units={UNIT_CHARACTERS: characters, UNIT_AUDIO_MILLISECONDS: int(characters * _MS_PER_CHARACTER / pace)},
        request_id=request_id,
    )


def _transcribe(
    call: IncomingCall,
    model: str,
    milliseconds: int,
    *,
    capabilities: frozenset[str],
    request_id: str = "",
    language: str = "",
) -> InferenceRequest:
    return InferenceRequest(
        task=Task.TRANSCRIBE,
        model=model,
        capabilities=capabilities,
        units={UNIT_AUDIO_MILLISECONDS: min(milliseconds, _MAX_SECONDS * 1000)},
        bounded=SECONDS_HEADER in call.headers,
        request_id=request_id,
        language=language,
    )


def _stated_bound(call: IncomingCall, audio: bytes | memoryview) -> int:
    """Return the caller's bound, which the cap then holds it to, else that of the recording, in milliseconds."""
    seconds = call.bound(SECONDS_HEADER, _MAX_SECONDS)
    return seconds * 1000 if seconds else length_bound_ms(audio)
