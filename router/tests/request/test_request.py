"""Requests read from bodies: enough to bound the cost, from whatever comes."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from google.api import httpbody_pb2
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.common.v1.usage_pb2 import UNIT_AUDIO_MILLISECONDS, UNIT_CHARACTERS
from enginehouse.api.inference.v1 import generation_pb2 as g
from enginehouse.api.voice.v1 import voice_pb2 as v
from enginehouse.kit.contracts import load_contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.request import InferenceRequest, Task
from enginehouse.router.request import parse_request as parse_with
from enginehouse.router.request._parse import has_estimator

CONTRACTS = load_contracts()
parse_request = functools.partial(parse_with, CONTRACTS)
INFERENCE = "/enginehouse.api.inference.v1.GenerationService/"
OPENAI = "/enginehouse.api.openai.v1.TextService/"
METHODS = [
    *(INFERENCE + name for name in ("Generate", "Embed", "Tokenize")),
    *(OPENAI + name for name in ("CreateChatCompletion", "CreateCompletion", "CreateEmbedding")),
    *("/enginehouse.api.voice.v1.VoiceService/" + name for name in ("Synthesize", "PlanSpeech", "Recognize")),
    *(
        "/enginehouse.api.openai.v1.AudioService/" + name
        for name in ("CreateSpeech", "CreateTranscription", "CreateTranslation")
    ),
]


def frame(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def openai(method: str, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request(OPENAI + method, frame(httpbody_pb2.HttpBody(data=data).SerializeToString()))


def test_a_typed_conversation() -> None:
    request = g.GenerateRequest(
        request_id="r",
        model="m",
        messages=[g.Message(role=g.ROLE_USER, content="नमस्ते"), g.Message(role=g.ROLE_USER, content="hi")],
        max_output_tokens=7,
        choices=3,
        tools=[g.Tool(name="t")],
        format=g.OutputFormat(json_object=True),
        logprobs=True,
    )
    parsed = parse_request(INFERENCE + "Generate", frame(request.SerializeToString()))
    assert (parsed.task, parsed.model, parsed.request_id) == (Task.GENERATE, "m", "r")
    assert (parsed.max_output_tokens, parsed.choices) == (7, 3)
    assert list(parsed.texts) == ["नमस्ते", "hi"]
    assert parsed.capabilities == {"chat", "tools", "json_schema", "logprobs"}
    assert parsed.input_bytes >= len("नमस्ते".encode()) + 2


def test_openais_conversation_counts_bytes_and_not_escapes() -> None:
    text = "కాకి"
    parsed = openai(
        "CreateChatCompletion",
        {
            "model": "auto",
            "messages": [
                {"role": "user", "content": text},
                {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
            ],
            "max_tokens": None,
            "max_completion_tokens": 5.0,
            "n": 128.0,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
            "user": "alice",
        },
    )
    assert list(parsed.texts) == [text, "two\nthree"]
    assert len(text.encode()) + 9 < parsed.input_bytes < len(text.encode()) + 300
    assert (parsed.max_output_tokens, parsed.choices, parsed.user_id) == (5, 128, "alice")
    assert parsed.capabilities == {"chat", "json_schema"}


def test_several_prompts_and_inputs() -> None:
    parsed = openai("CreateCompletion", {"model": "m", "prompt": ["a", "b", "c"], "n": 2})
    assert parsed.choices == 6
    assert len(parsed.inputs) == 3
    assert sum(parsed.inputs) == parsed.input_bytes
    assert openai("CreateCompletion", {"model": "m", "prompt": "a", "n": 3.0, "max_tokens": 60.0}).choices == 3
    assert openai("CreateEmbedding", {"model": "m", "input": ["a", "bb"]}).inputs == [17, 18]
    assert openai("CreateEmbedding", {"model": "m", "input": "abc"}).inputs == [19]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"model": 5}', b"\xff\xfe", b"null"])
def test_bodies_that_are_no_request(body: bytes) -> None:
    with pytest.raises(ServiceError) as refused:
        openai("CreateChatCompletion", body)
    assert refused.value.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":"3"}', "Invalid type for 'n'"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":3,"n":1}', "'n' twice"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"maxTokens":1}', "Unknown parameter: 'maxTokens'"),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}', "NaN"),
        (b'{"model":"m","messages":[{"role":"robot","content":"x"}]}', "'robot' is none of"),
    ],
)
def test_a_body_is_refused_with_the_words_of_the_engine(body: bytes, message: str) -> None:
    with pytest.raises(ServiceError, match=message):
        openai("CreateChatCompletion", body)


def test_a_user_may_be_written_in_any_script_but_not_invisibly() -> None:
    for user in ("విండోస్\u200c", "می\u200cخواهم", "👩\u200d🚀"):
        assert openai("CreateEmbedding", {"model": "m", "input": "x", "user": user}).user_id == user
    for user in ("a\u202eb", "a\nb", "\u200d", "x" * 129):
        with pytest.raises(ServiceError, match="user: must be at most 128 printable"):
            openai("CreateEmbedding", {"model": "m", "input": "x", "user": user})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_keys = st.sampled_from(
    [
        "messages",
        "prompt",
        "input",
        "n",
        "best_of",
        "max_tokens",
        "max_completion_tokens",
        "tools",
        "functions",
        "response_format",
        "logprobs",
        "user",
        "suffix",
        "grammar",
    ]
)


@given(st.sampled_from(["CreateChatCompletion", "CreateCompletion", "CreateEmbedding"]), st.dictionaries(_keys, _json))
def test_any_json_is_a_request_or_a_typed_refusal(method: str, body: dict[str, Any]) -> None:
    try:
        parsed = openai(method, {**body, "model": "m"})
    except ServiceError as error:
        assert error.reason is Reason.INVALID_REQUEST
    else:
        assert parsed.input_bytes >= 0
        assert parsed.choices >= 1
        assert 0 <= parsed.max_output_tokens < 2**31


@given(st.sampled_from(METHODS), st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_request_or_a_typed_refusal(method: str, body: bytes, framed: bool) -> None:
    try:
        parse_request(method, frame(body) if framed else body, encoding="gzip")
    except ServiceError as error:
        assert error.reason in (Reason.INVALID_REQUEST, Reason.REQUEST_TOO_LARGE)


def test_methods_that_no_price_applies_to() -> None:
    assert parse_request("/enginehouse.api.router.v1.AdminService/QuerySpend", b"not even framed").task == Task.NONE
    assert parse_request("/anything/Else", b"not even framed").task == Task.NONE


def test_every_task_of_our_contracts_has_an_estimator_and_what_makes_nothing_is_free() -> None:
    methods = [method for method in CONTRACTS.methods.values() if method.task]
    assert all(has_estimator(method) for method in methods)
    # Tokenize and CountTokens make nothing, and neither does PlanSpeech.
    assert [method.task for method in methods if method.free] == [Task.TOKENIZE, Task.TOKENIZE, Task.SPEAK]


VOICE = "/enginehouse.api.voice.v1.VoiceService/"
AUDIO = "/enginehouse.api.openai.v1.AudioService/"
WAV = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\x7d\0\0" + bytes(32_000)


def form(**fields: str) -> bytes:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + WAV
    body = "".join(parts).encode() + file + b"\r\n--b--\r\n"
    message = httpbody_pb2.HttpBody(content_type="multipart/form-data; boundary=b", data=body)
    return frame(message.SerializeToString())


def parsed_voice(path: str, message: Any, **headers: str) -> InferenceRequest:
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return parse_request(path, frame(message.SerializeToString()), headers=given)


def of_json(body: dict[str, Any]) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (VOICE + "Synthesize", v.SynthesizeRequest(text="x", controls=v.SpeechControls(language="te_in"))),
        (VOICE + "PlanSpeech", v.PlanSpeechRequest(text="x", controls=v.SpeechControls(language="te_in"))),
        (VOICE + "Recognize", v.RecognizeRequest(options=v.RecognitionOptions(language="TE-IN"))),
        (AUDIO + "CreateSpeech", of_json({"model": "m", "input": "x", "language": "te-IN"})),
    ],
)
def test_the_language_of_a_body_goes_before_that_of_the_headers(method: str, message: Any) -> None:
    assert parsed_voice(method, message).language == "te-IN"
    assert parsed_voice(method, message, x_enginehouse_language="fr").language == "te-IN"


def test_openais_transcription_names_its_language() -> None:
    parsed = parse_request(AUDIO + "CreateTranscription", form(model="whisper", language="te"))
    assert parsed.language == "te"
    assert not parse_request(AUDIO + "CreateTranscription", form(model="whisper")).language


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (INFERENCE + "Generate", g.GenerateRequest(prompt="x")),
        (OPENAI + "CreateChatCompletion", of_json({"model": "auto", "messages": [{"role": "user", "content": ""}]})),
        (VOICE + "Synthesize", v.SynthesizeRequest(text="x")),
        (VOICE + "Converse", v.ConverseRequest()),
        (VOICE + "StreamingRecognize", v.StreamingRecognizeRequest()),
    ],
)
def test_a_header_asks_for_the_language_of_any_request(method: str, message: Any) -> None:
    assert parsed_voice(method, message, x_enginehouse_language="pt_br").language == "pt-BR"
    assert not parsed_voice(method, message).language
    with pytest.raises(ServiceError, match="x-enginehouse-language: 'Portuguese' is not a language tag") as refused:
        parsed_voice(method, message, x_enginehouse_language="Portuguese")
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_a_language_of_a_body_that_is_no_tag_is_left_to_the_engine() -> None:
    message = v.SynthesizeRequest(text="x", controls=v.SpeechControls(language="Telugu, please"))
    assert not parsed_voice(VOICE + "Synthesize", message).language
    assert not parsed_voice(AUDIO + "CreateSpeech", of_json({"model": "m", "input": "x", "language": 7})).language


@pytest.mark.parametrize(
    ("method", "message", "voice"),
    [
        (VOICE + "Synthesize", v.SynthesizeRequest(text="x", controls=v.SpeechControls(voice="te+f2")), "te+f2"),
        (AUDIO + "CreateSpeech", of_json({"model": "m", "input": "x", "voice": "joe"}), "joe"),
        (AUDIO + "CreateSpeech", of_json({"model": "m", "input": "x", "voice": {"id": "voc_1"}}), "voc_1"),
        (AUDIO + "CreateSpeech", of_json({"model": "m", "input": "x", "voice": ["joe"]}), ""),
        (AUDIO + "CreateSpeech", of_json({"model": "m", "input": "x", "voice": "auto"}), ""),
        (AUDIO + "CreateSpeech", of_json({"model": "m", "input": "x"}), ""),
    ],
)
def test_a_voice_is_read_in_every_form(method: str, message: Any, voice: str) -> None:
    assert parsed_voice(method, message).voice == voice


def test_the_words_of_a_speech_cost_nothing_and_go_where_the_speech_would() -> None:
    controls = v.SpeechControls(voice="te+f2", language="te")
    planned = parsed_voice(VOICE + "PlanSpeech", v.PlanSpeechRequest(model="m", text="కాకి", controls=controls))
    spoken = parsed_voice(VOICE + "Synthesize", v.SynthesizeRequest(model="m", text="కాకి", controls=controls))
    assert planned.free
    assert not spoken.free
    assert (planned.task, planned.model, planned.capabilities) == (spoken.task, "m", spoken.capabilities)
    assert (planned.voice, planned.language, planned.spoken_text) == ("te+f2", "te", spoken.spoken_text)


def test_a_header_names_the_voice_of_a_conversation() -> None:
    assert parsed_voice(VOICE + "Converse", v.ConverseRequest(), x_enginehouse_voice="joe").voice == "joe"
    with pytest.raises(ServiceError, match="x-enginehouse-voice: must be 1-128 printable"):
        parsed_voice(VOICE + "Converse", v.ConverseRequest(), x_enginehouse_voice="a joe")


def test_what_is_spoken_is_kept_for_its_language_and_no_prompt() -> None:
    plain = parsed_voice(VOICE + "Synthesize", v.SynthesizeRequest(text="కాకి " * 1000))
    assert "కాకి ".startswith(plain.spoken_text[:5])
    assert len(plain.spoken_text) <= 1024
    marked = parsed_voice(VOICE + "Synthesize", v.SynthesizeRequest(ssml='<speak><p xml:lang="te">కాకి</p></speak>'))
    assert marked.spoken_text.strip() == "కాకి"
    assert not plain.texts
    assert not marked.texts


def test_speech_is_bounded_by_its_characters() -> None:
    request = v.SynthesizeRequest(request_id="r", model="m", text="కాకి", controls=v.SpeechControls(speed=0.5))
    parsed = parse_request(VOICE + "Synthesize", frame(request.SerializeToString()))
    assert (parsed.task, parsed.model, parsed.request_id, parsed.capabilities) == (Task.SPEAK, "m", "r", {"speech"})
    assert parsed.units == {UNIT_CHARACTERS: 4, UNIT_AUDIO_MILLISECONDS: 2000}
    body = json.dumps({"model": "tts", "input": "abcd", "voice": "x", "speed": 0.5}).encode()
    parsed = parse_request(AUDIO + "CreateSpeech", frame(httpbody_pb2.HttpBody(data=body).SerializeToString()))
    assert (parsed.task, parsed.model, parsed.units) == (
        Task.SPEAK,
        "tts",
        {UNIT_CHARACTERS: 4, UNIT_AUDIO_MILLISECONDS: 2000},
    )


def test_listening_is_bounded_by_what_the_recording_says_or_the_caller() -> None:
    request = v.RecognizeRequest(model="m", audio=WAV, options=v.RecognitionOptions(translate=True))
    parsed = parse_request(VOICE + "Recognize", frame(request.SerializeToString()))
    assert (parsed.task, parsed.capabilities) == (Task.TRANSCRIBE, {"transcription", "translation"})
    assert parsed.units is not None
    assert 1000 <= parsed.units[UNIT_AUDIO_MILLISECONDS] < 1600
    headers = {b"x-enginehouse-max-audio-seconds": b"7"}
    parsed = parse_request(VOICE + "Recognize", frame(request.SerializeToString()), headers=headers)
    assert parsed.units == {UNIT_AUDIO_MILLISECONDS: 7000}
    parsed = parse_request(AUDIO + "CreateTranscription", form(model="whisper"))
    assert (parsed.model, parsed.capabilities) == ("whisper", {"transcription"})
    assert parsed.units is not None
    assert 1000 <= parsed.units[UNIT_AUDIO_MILLISECONDS] < 1600
    assert parse_request(AUDIO + "CreateTranslation", form(model="whisper")).capabilities == {
        "transcription",
        "translation",
    }


def test_streams_are_bounded_by_their_headers() -> None:
    parsed = parse_request(VOICE + "Converse", b"")
    assert (parsed.task, parsed.model) == (Task.SPEAK, "auto")
    assert parsed.units is not None
    assert parsed.units[UNIT_CHARACTERS] == 20_000
    headers = {b"x-enginehouse-ask-model": b"m", b"x-enginehouse-max-audio-seconds": b"30"}
    parsed = parse_request(VOICE + "StreamingRecognize", b"", headers=headers)
    assert (parsed.task, parsed.model, parsed.units) == (Task.TRANSCRIBE, "m", {UNIT_AUDIO_MILLISECONDS: 30_000})


@pytest.mark.parametrize("value", [b"0", b"-1", b"1.5", b"ten", b"99999999999"])
def test_bounds_that_are_none_are_named(value: bytes) -> None:
    with pytest.raises(ServiceError, match="x-enginehouse-max-audio-seconds") as refused:
        parse_request(VOICE + "StreamingRecognize", b"", headers={b"x-enginehouse-max-audio-seconds": value})
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_a_form_without_a_model_is_refused() -> None:
    with pytest.raises(ServiceError, match="model: name a model"):
        parse_request(AUDIO + "CreateTranscription", form())


def test_a_prompt_of_tokens_that_is_only_read() -> None:
    body = {"model": "m", "prompt": [50_000] * 300, "max_tokens": 0, "echo": True, "logprobs": 1}
    parsed = openai("CreateCompletion", body)
    assert parsed.input_bytes >= 300
    assert (parsed.max_output_tokens, parsed.choices) == (1, 1)
    assert "logprobs" in parsed.capabilities
    several = openai("CreateCompletion", body | {"prompt": [[5] * 300, [6] * 200]})
    assert several.input_bytes >= 500
    assert several.choices == 2
