"""Validation of requests; an error names every fault."""

from __future__ import annotations

import re

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.text import check_text
from enginehouse.kit.languages import is_tag
from enginehouse.kit.validation import Checks, is_printable, shorten

MAX_CHARACTERS = 500_000
"""The maximum length of a request's text."""

MAX_PLANNED_CHARACTERS = 20_000
"""The maximum length of a text whose words are asked for: that is not billed, so it stays cheap."""

_TAG = 'a BCP 47 tag, such as "te" or "en-IN"'
_VOICE = re.compile(r"\S{1,128}")
_MAX_PRONUNCIATIONS = 1000
_LIVE_ENCODINGS = (voice_pb2.AUDIO_ENCODING_PCM, voice_pb2.AUDIO_ENCODING_OPUS)
MAX_SAMPLE_BYTES = 10 * 2**20


def check_synthesize(request: voice_pb2.SynthesizeRequest) -> None:
    """Raise INVALID_REQUEST for an invalid SynthesizeRequest."""
    checks = Checks()
    _input(checks, request, most=MAX_CHARACTERS)
    _form(checks, request.audio)
    checks.in_range("first_chunk", request.first_chunk, 0, MAX_CHARACTERS)
    checks.done()


def check_plan_speech(request: voice_pb2.PlanSpeechRequest) -> None:
    """Raise INVALID_REQUEST for an invalid PlanSpeechRequest."""
    checks = Checks()
    _input(checks, request, most=MAX_PLANNED_CHARACTERS)
    checks.done()


def _input(checks: Checks, request: voice_pb2.SynthesizeRequest | voice_pb2.PlanSpeechRequest, *, most: int) -> None:
    checks.request_id("request_id", request.request_id)
    kind = request.WhichOneof("input")
    if kind is None:
        checks.violate("text", "is missing; give a text, or an SSML document in ssml")
    else:
        text = request.text if kind == "text" else request.ssml
        if checks.size(kind, text, 1, most, of="characters") and kind == "text":
            wrong = check_text(text)
            checks.require(wrong is None, kind, wrong or "")
    _controls(checks, request.controls)


def check_converse(config: voice_pb2.ConverseConfig) -> None:
    """Raise INVALID_REQUEST for an invalid first message of a conversation."""
    checks = Checks()
    checks.request_id("config.request_id", config.request_id)
    _controls(checks, config.controls)
    _form(checks, config.audio)
    encoding = config.audio.encoding
    checks.require(
        not encoding or encoding in _LIVE_ENCODINGS, "audio.encoding", "must be PCM or OPUS in a conversation"
    )
    checks.done()


def check_recognize(request: voice_pb2.RecognizeRequest) -> None:
    """Raise INVALID_REQUEST for an invalid RecognizeRequest."""
    checks = Checks()
    checks.request_id("request_id", request.request_id)
    checks.require(len(request.audio) > 0, "audio", "is empty; send a file of any common container")
    _options(checks, request.options)
    checks.done()


def check_streaming(config: voice_pb2.StreamingRecognizeConfig) -> None:
    """Raise INVALID_REQUEST for an invalid first message of a live recognition."""
    checks = Checks()
    checks.request_id("config.request_id", config.request_id)
    _options(checks, config.options)
    checks.in_range("config.sample_rate", config.sample_rate, 8000, 48_000)
    if config.end_silence_ms:
        checks.in_range("config.end_silence_ms", config.end_silence_ms, 200, 5000)
    checks.done()


def check_create_voice(request: voice_pb2.CreateVoiceRequest) -> None:
    """Raise INVALID_REQUEST for an invalid CreateVoiceRequest."""
    checks = Checks()
    checks.size("name", request.name.strip(), 1, 100, of="characters")
    checks.require(is_printable(request.name), "name", "must be printable characters")
    checks.size("sample", request.sample, 1, MAX_SAMPLE_BYTES, of="bytes")
    consent = request.consent
    checks.require(consent.confirmed, "consent.confirmed", "must be true: clone no speaker who has not agreed to it")
    checks.size("consent.speaker", consent.speaker.strip(), 1, 200, of="characters")
    checks.size("consent.statement", consent.statement.strip(), 1, 2000, of="characters")
    _language(checks, "language", request.language)
    checks.require(request.gender in voice_pb2.Gender.values(), "gender", f"{request.gender} is no gender")
    checks.size("description", request.description, 0, 500, of="characters")
    checks.done()


def check_list_voices(request: voice_pb2.ListVoicesRequest) -> None:
    """Raise INVALID_REQUEST for an invalid ListVoicesRequest."""
    checks = Checks()
    if request.language:
        _language(checks, "language", request.language)
    checks.in_range("page_size", request.page_size, 0, 1000)
    checks.size("page_token", request.page_token, 0, 128, of="characters")
    checks.done()


def _controls(checks: Checks, controls: voice_pb2.SpeechControls) -> None:
    at = "controls."
    if controls.voice:
        checks.matches(f"{at}voice", controls.voice, _VOICE, "a voice's id of 1-128 characters without blanks")
    if controls.language:
        _language(checks, f"{at}language", controls.language)
    if controls.speed:
        checks.in_range(f"{at}speed", controls.speed, 0.25, 4)
    checks.in_range(f"{at}pitch", controls.pitch, -12, 12)
    checks.in_range(f"{at}volume_db", controls.volume_db, -40, 12)
    checks.require(controls.emotion in voice_pb2.Emotion.values(), f"{at}emotion", f"{controls.emotion} is no emotion")
    checks.size(f"{at}lexicon", controls.lexicon, 0, _MAX_PRONUNCIATIONS)
    for number, entry in enumerate(controls.lexicon[:_MAX_PRONUNCIATIONS]):
        checks.size(f"{at}lexicon[{number}].word", entry.word.strip(), 1, 100, of="characters")
        checks.size(f"{at}lexicon[{number}].say", entry.say.strip(), 1, 200, of="characters")
        wrong = check_text(entry.say) if entry.say.strip() else None
        checks.require(wrong is None, f"{at}lexicon[{number}].say", wrong or "")


def _language(checks: Checks, field: str, tag: str) -> None:
    checks.require(is_tag(tag), field, f"{shorten(tag)} must be {_TAG}")


def _form(checks: Checks, form: voice_pb2.AudioForm) -> None:
    known = form.encoding in voice_pb2.AudioEncoding.values()
    checks.require(known, "audio.encoding", f"{form.encoding} is no encoding")
    if form.sample_rate:
        checks.in_range("audio.sample_rate", form.sample_rate, 8000, 48_000)


def _options(checks: Checks, options: voice_pb2.RecognitionOptions) -> None:
    if options.language:
        _language(checks, "options.language", options.language)
    checks.size("options.prompt", options.prompt, 0, 1000, of="characters")
