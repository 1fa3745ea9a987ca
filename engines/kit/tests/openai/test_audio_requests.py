"""OpenAI's audio requests as they are read, and its answers as they are written."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai import read_speech, read_transcription
from enginehouse.kit.openai.audio._speech import speech_piece
from enginehouse.kit.openai.audio._transcription import TranscriptionAnswer


def speech(**fields: Any) -> Any:
    return read_speech(json.dumps({"model": "m", "input": "Hello.", "voice": "en-us", **fields}).encode())


def form(**fields: Any) -> tuple[str, bytes]:
    request = httpx.Request("POST", "http://x", files={"file": ("a.wav", b"RIFF")}, data={"model": "m", **fields})
    return request.headers["content-type"], request.read()


def transcription(translate: bool = False, **fields: Any) -> Any:
    return read_transcription(*form(**fields), translate=translate)


def test_speech_is_read() -> None:
    asked = speech()
    assert (asked.synthesize.model, asked.synthesize.text, asked.events) == ("m", "Hello.", False)
    assert asked.synthesize.audio.encoding == voice_pb2.AUDIO_ENCODING_MP3
    assert asked.synthesize.controls.voice == "en-us"
    asked = speech(
        voice={"id": "voc_x"}, response_format="pcm", speed=1.5, stream_format="sse", pitch=-2, emotion="sad",
        language="te", volume_db=3, verbatim=True, input="<speak>x</speak>", input_type="ssml",
    )  # fmt: skip
    request, controls = asked.synthesize, asked.synthesize.controls
    assert (request.WhichOneof("input"), request.ssml) == ("ssml", "<speak>x</speak>")
    assert (controls.voice, controls.speed, controls.pitch, controls.volume_db) == ("voc_x", 1.5, -2, 3)
    assert (controls.emotion, controls.language, controls.verbatim) == (voice_pb2.EMOTION_SAD, "te", True)
    # OpenAI's raw samples are of 24 kHz, and its clients play them so.
    assert (request.audio.encoding, request.audio.sample_rate) == (voice_pb2.AUDIO_ENCODING_PCM, 24_000)
    assert asked.events
    assert speech(voice="auto").synthesize.controls.voice == ""
    assert speech(instructions="Speak in a cheerful tone.").synthesize.controls.emotion == voice_pb2.EMOTION_HAPPY


@pytest.mark.parametrize(
    ("instructions", "emotion"),
    [
        ("Don't sound sad. Be happy!", voice_pb2.EMOTION_HAPPY),
        ("not sad but excited", voice_pb2.EMOTION_EXCITED),
        ("Never angry or scared, but calm", voice_pb2.EMOTION_NEUTRAL),
        ("not sad, angry or fearful, but warm", voice_pb2.EMOTION_TENDER),
        ("Don’t be angry, be gentle", voice_pb2.EMOTION_TENDER),
        ("not too fast, cheerful", voice_pb2.EMOTION_HAPPY),
        ("cheerful, not too excited", voice_pb2.EMOTION_HAPPY),
        ("gentle rather than angry", voice_pb2.EMOTION_TENDER),
        ("Instead of sad: happy", voice_pb2.EMOTION_HAPPY),
        ("not only happy but excited", voice_pb2.EMOTION_HAPPY),
        ("speak sadly", voice_pb2.EMOTION_SAD),
    ],
)
def test_a_negated_emotion_is_not_spoken(instructions: str, emotion: int) -> None:
    assert speech(instructions=instructions).synthesize.controls.emotion == emotion


@pytest.mark.parametrize(
    ("instructions", "hint"),
    [
        ("Don't sound sad", "only says how not to speak"),
        ("anything but cheerful", "cheerful"),
        ("without being angry", "angry"),
        ("never sad, angry or afraid", "sad, angry, afraid"),
        ("Don't whisper", "names no emotion"),
        ("Not too fast", "names no emotion"),
    ],
)
def test_what_must_not_be_is_not_made_into_its_opposite(instructions: str, hint: str) -> None:
    with pytest.raises(ServiceError, match=hint) as refused:
        speech(instructions=instructions)
    assert refused.value.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"input": ""}, "'input'"),
        ({"model": None}, "'model'"),
        ({"voice": None}, "'voice'"),
        ({"voice": 7}, "'voice'"),
        ({"voice": {"name": "x"}}, "'voice.id'"),
        ({"response_format": "ogg"}, "'mp3', 'opus'"),
        ({"speed": 5}, "at most 4"),
        ({"speed": "fast"}, "expected a number"),
        ({"emotion": "bored"}, "'tender'"),
        ({"instructions": "Like a pirate."}, "names no emotion"),
        ({"speeed": 1}, "Did you mean 'speed'"),
        ({"sample_rate": 96000}, "between 8000 and 48000"),
    ],
)
def test_what_speech_cannot_be_is_named(fields: dict[str, Any], hint: str) -> None:
    with pytest.raises(ServiceError, match=hint) as refused:
        speech(**fields)
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_speech_leaves_as_bytes_or_events() -> None:
    usage = usage_pb2.Usage(units=[usage_pb2.UnitAmount(unit=usage_pb2.UNIT_CHARACTERS, amount=6)], cost_nanos=3)
    last = voice_pb2.SynthesizeResponse(audio=b"xyz", summary=voice_pb2.SpeechSummary(usage=usage))
    assert speech_piece(last, content_type="audio/mpeg", events=False) == ("audio/mpeg", b"xyz")
    piece = speech_piece(last, content_type="audio/mpeg", events=True)
    assert piece is not None
    delta, done = (json.loads(line.removeprefix("data: ")) for line in piece[1].decode().strip().split("\n\n"))
    assert base64.b64decode(delta["audio"]) == b"xyz"
    assert (done["type"], done["usage"]["input_tokens"], done["usage"]["cost_nanos"]) == ("speech.audio.done", 6, 3)
    assert speech_piece(voice_pb2.SynthesizeResponse(), content_type="", events=True) is None


def test_a_transcription_is_read() -> None:
    asked = transcription()
    assert (asked.recognize.model, asked.recognize.audio, asked.format) == ("m", b"RIFF", "json")
    assert not asked.recognize.options.translate
    asked = transcription(
        translate=True,
        language="te",
        prompt="crow",
        response_format="verbose_json",
        temperature="0.0",
        **{"timestamp_granularities[]": ["word"]},
    )
    options = asked.recognize.options
    assert (options.language, options.prompt, options.word_times, options.translate) == ("te", "crow", True, True)
    assert (asked.words, asked.segments) == (True, False)
    assert transcription(stream="true").stream


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"model": ""}, "'model'"),
        ({"response_format": "xml"}, "'srt'"),
        ({"timestamp_granularities[]": "word"}, "verbose_json"),
        ({"timestamp_granularities[]": "letter", "response_format": "verbose_json"}, "neither 'word' nor 'segment'"),
        ({"temperature": "0.5"}, "with 0 only"),
        ({"temperature": "warm"}, "with 0 only"),
        ({"include[]": "logprobs"}, "'include'"),
        ({"stream": "maybe"}, "neither 'true' nor 'false'"),
        ({"stream": "true", "response_format": "srt"}, "'json' or 'text'"),
        ({"chunking_strategy": "{}"}, "only 'auto'"),
        ({"modell": "x"}, "Unknown parameter: 'modell'"),
    ],
)
def test_what_a_transcription_cannot_be_is_named(fields: dict[str, Any], hint: str) -> None:
    with pytest.raises(ServiceError, match=hint) as refused:
        transcription(**fields)
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_a_transcription_needs_a_file() -> None:
    request = httpx.Request("POST", "http://x", files={"model": (None, "m")})
    with pytest.raises(ServiceError, match="'file'"):
        read_transcription(request.headers["content-type"], request.read(), translate=False)


def answer(**fields: Any) -> tuple[str, str]:
    asked = transcription(**fields)
    made = TranscriptionAnswer(asked)
    words = [voice_pb2.Word(word="a", start_ms=0, end_ms=400), voice_pb2.Word(word="<crow>", start_ms=500, end_ms=900)]
    first = voice_pb2.Segment(text="a <crow>", start_ms=0, end_ms=900, confidence=0.5, words=words)
    second = voice_pb2.Segment(text="flew", start_ms=3_661_001, end_ms=3_662_000, confidence=1)
    pieces = [made.add(voice_pb2.RecognizeResponse(segments=[segment])) for segment in (first, second)]
    last = voice_pb2.RecognizeResponse(
        text="a <crow> flew", language="en", duration_ms=3_662_500, usage=usage_pb2.Usage(cost_nanos=9)
    )
    pieces.append(made.add(last))
    pieces.append(made.end())
    found = [piece for piece in pieces if piece is not None]
    return found[0][0], b"".join(data for _, data in found).decode()


def test_every_format_of_a_transcription() -> None:
    kind, body = answer()
    assert kind == "application/json"
    assert json.loads(body) == {
        "text": "a <crow> flew",
        "usage": {"type": "duration", "seconds": 3663, "cost_nanos": 9},
    }
    assert answer(response_format="text")[1] == "a <crow> flew\n"
    assert answer(response_format="srt")[1] == (
        "1\n00:00:00,000 --> 00:00:00,900\na <crow>\n\n2\n01:01:01,001 --> 01:01:02,000\nflew\n\n"
    )
    assert answer(response_format="vtt")[1] == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.900\na &lt;crow&gt;\n\n01:01:01.001 --> 01:01:02.000\nflew\n\n"
    )
    whole = json.loads(answer(response_format="verbose_json")[1])
    assert (whole["task"], whole["language"], whole["duration"]) == ("transcribe", "english", 3662.5)
    assert [segment["start"] for segment in whole["segments"]] == [0, 3661.001]
    assert whole["segments"][0]["avg_logprob"] == pytest.approx(-0.693, abs=1e-3)
    assert "words" not in whole
    words = json.loads(answer(response_format="verbose_json", **{"timestamp_granularities[]": "word"})[1])
    assert [word["word"] for word in words["words"]] == ["a", "<crow>"]
    assert "segments" not in words


def test_a_streamed_transcription_is_events() -> None:
    kind, body = answer(stream="true")
    assert kind == "text/event-stream"
    *events, end = body.strip().split("\n\n")
    assert end == "data: [DONE]"
    parsed = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [event["type"] for event in parsed] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event["delta"] for event in parsed[:2]) == parsed[2]["text"] == "a <crow> flew"
