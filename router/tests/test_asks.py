"""What is read from bodies: enough to bound the cost, from whatever comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api import httpbody_pb2
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.inference.v1 import generation_pb2 as g
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.asks import Purpose, parse_ask, purpose_of

INFERENCE = "/enginehouse.api.inference.v1.GenerationService/"
OPENAI = "/enginehouse.api.openai.v1.TextService/"
METHODS = [INFERENCE + name for name in ("Generate", "Embed", "Tokenize")] + [
    OPENAI + name for name in ("CreateChatCompletion", "CreateCompletion", "CreateEmbedding")
]


def frame(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def openai(method: str, body: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_ask(OPENAI + method, frame(httpbody_pb2.HttpBody(data=data).SerializeToString()))


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
    ask = parse_ask(INFERENCE + "Generate", frame(request.SerializeToString()))
    assert (ask.purpose, ask.model, ask.request_id) == (Purpose.GENERATE, "m", "r")
    assert (ask.max_output_tokens, ask.choices) == (7, 3)
    assert list(ask.texts) == ["नमस्ते", "hi"]
    assert ask.capabilities == {"chat", "tools", "json_schema", "logprobs"}
    assert ask.input_bytes >= len("नमस्ते".encode()) + 2


def test_openais_conversation_counts_bytes_and_not_escapes() -> None:
    text = "కాకి"
    ask = openai(
        "CreateChatCompletion",
        {
            "model": "auto",
            "messages": [
                {"role": "user", "content": text},
                {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "image_url"}]},
            ],
            "max_tokens": 9,
            "max_completion_tokens": 5,
            "n": 99,
            "response_format": {"type": "json_schema", "json_schema": {}},
            "user": "alice",
        },
    )
    assert list(ask.texts) == [text, "two"]
    assert len(text.encode()) + 3 < ask.input_bytes < len(text.encode()) + 300
    assert (ask.max_output_tokens, ask.choices, ask.user_id) == (5, 8, "alice")
    assert ask.capabilities == {"chat", "json_schema"}


def test_several_prompts_and_inputs() -> None:
    ask = openai("CreateCompletion", {"model": "m", "prompt": ["a", "b", "c"], "n": 2})
    assert ask.choices == 6
    ask = openai("CreateCompletion", {"model": "m", "prompt": [1, 2, 3]})
    assert ask.choices == 1
    assert openai("CreateEmbedding", {"model": "m", "input": ["a", "bb"]}).inputs == [17, 18]
    assert openai("CreateEmbedding", {"model": "m", "input": [[1, 2], [3]]}).inputs == [18, 17]
    assert openai("CreateEmbedding", {"model": "m", "input": "abc"}).inputs == [19]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"model": 5}', b"\xff\xfe", b"null"])
def test_bodies_that_are_no_request(body: bytes) -> None:
    with pytest.raises(ServiceError) as refused:
        openai("CreateChatCompletion", body)
    assert refused.value.reason is Reason.INVALID_REQUEST


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
def test_any_json_is_an_ask_or_a_typed_refusal(method: str, body: dict[str, Any]) -> None:
    try:
        ask = openai(method, {**body, "model": "m"})
    except ServiceError as error:
        assert error.reason is Reason.INVALID_REQUEST
    else:
        assert ask.input_bytes >= 0
        assert ask.choices >= 1
        assert 0 <= ask.max_output_tokens < 2**31


@given(st.sampled_from(METHODS), st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_ask_or_a_typed_refusal(method: str, body: bytes, framed: bool) -> None:
    try:
        parse_ask(method, frame(body) if framed else body, encoding="gzip")
    except ServiceError as error:
        assert error.reason in (Reason.INVALID_REQUEST, Reason.REQUEST_TOO_LARGE)


def test_methods_that_no_price_applies_to() -> None:
    assert purpose_of("/enginehouse.api.router.v1.AdminService/QuerySpend") is Purpose.OTHER
    assert parse_ask("/anything/Else", b"not even framed").purpose is Purpose.OTHER
