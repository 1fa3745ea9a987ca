"""Canonical requests: equal meaning gives equal keys, whatever could change the answer changes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api import httpbody_pb2
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.contracts import load_contracts
from enginehouse.router.cache import CanonicalRequest, answer_key, canonicalize, model_identity
from router.tests.harness.cache import chat_model

CHAT = "/enginehouse.api.openai.v1.TextService/CreateChatCompletion"
COMPLETION = "/enginehouse.api.openai.v1.TextService/CreateCompletion"
EMBEDDING = "/enginehouse.api.openai.v1.TextService/CreateEmbedding"
GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
EMBED = "/enginehouse.api.inference.v1.GenerationService/Embed"


def read(method: str, body: dict[str, Any], *, text: str | None = None) -> CanonicalRequest | None:
    data = (text or json.dumps(body)).encode()
    return canonicalize(method, httpbody_pb2.HttpBody(content_type="application/json", data=data).SerializeToString())


def form(method: str, body: dict[str, Any], *, text: str | None = None) -> bytes:
    found = read(method, body, text=text)
    assert found is not None
    return found.form


def key(body: dict[str, Any], **changes: Any) -> bytes:
    found = read(CHAT, body)
    assert found is not None
    parts: dict[str, Any] = {"scope": "tenant a", "model": b"m", "system_prompt": "", "epochs": b""}
    return answer_key(found, **{**parts, **changes})


BODY: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}],
    "temperature": 0,
    "max_tokens": 40,
    "stop": ["END", "STOP"],
    "seed": 7,
    "tools": [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
        }
    ],
}


def shuffled(value: Any, draw: Any) -> Any:
    """The same JSON with the keys of the body and its messages in another order."""
    if isinstance(value, dict):
        keys = draw(st.permutations(sorted(value)))
        return {name: shuffled(value[name], draw) if name != "parameters" else value[name] for name in keys}
    if isinstance(value, list):
        return [shuffled(entry, draw) for entry in value]
    return value


@given(st.data())
def test_the_order_of_keys_and_the_blanks_between_them_do_not_count(data: st.DataObject) -> None:
    written = json.dumps(
        shuffled(BODY, data.draw),
        indent=data.draw(st.sampled_from([None, 0, 2])),
        ensure_ascii=data.draw(st.booleans()),
    )
    assert form(CHAT, {}, text=written) == form(CHAT, BODY)


def test_what_means_the_same_is_the_same() -> None:
    same = form(CHAT, BODY)
    assert form(CHAT, BODY | {"stop": ["STOP", "END"]}) == same
    assert form(CHAT, BODY | {"n": 1}) == same
    assert form(CHAT, BODY | {"model": "auto"}) == same
    assert form(CHAT, BODY | {"stream": True, "stream_options": {"include_usage": True}}) == same
    assert form(CHAT, BODY | {"user": "somebody", "metadata": {"a": "b"}}) == same
    without = {name: value for name, value in BODY.items() if name != "max_tokens"}
    assert form(CHAT, without | {"max_completion_tokens": 40}) == same
    parts = [BODY["messages"][0], {"role": "user", "content": [{"type": "text", "text": "Why is the sky blue?"}]}]
    assert form(CHAT, BODY | {"messages": parts}) == same


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"temperature": None},
        {"seed": 8},
        {"seed": None},
        {"top_p": 0.9},
        {"top_k": 1},
        {"min_p": 0.1},
        {"frequency_penalty": 0.1},
        {"presence_penalty": 0.1},
        {"repeat_penalty": 1.1},
        {"max_tokens": 41},
        {"n": 2},
        {"stop": ["END"]},
        {"stop": None},
        {"logprobs": True},
        {"logprobs": True, "top_logprobs": 1},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        {"grammar": 'root ::= "a"'},
        {"tools": None},
        {"tool_choice": "none"},
        {"tool_choice": "required"},
        {"parallel_tool_calls": False},
        {"messages": BODY["messages"][1:]},
        {"messages": [*BODY["messages"], {"role": "user", "content": "And the sea?"}]},
        {"messages": [BODY["messages"][0], {"role": "user", "content": "Why is the sky blue? "}]},
        {"messages": [BODY["messages"][0], {"role": "user", "content": "why is the sky blue?"}]},
        {"messages": [BODY["messages"][0], {"role": "user", "name": "Ada", "content": "Why is the sky blue?"}]},
    ],
    ids=str,
)
def test_whatever_could_change_the_answer_makes_another_key(change: dict[str, Any]) -> None:
    changed = {name: value for name, value in (BODY | change).items() if value is not None}
    assert form(CHAT, changed) != form(CHAT, BODY)


def test_schemas_count_in_their_order_and_not_in_their_blanks() -> None:
    def with_schema(text: str) -> bytes:
        rest = json.dumps(BODY)[:-1]
        schema = f'{{"type": "json_schema", "json_schema": {{"name": "a", "schema": {text}}}}}'
        return form(CHAT, {}, text=f'{rest}, "response_format": {schema}}}')

    one = '{"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}'
    assert with_schema(one) == with_schema(one.replace(" ", "").replace(":", " : "))
    other = '{"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}'
    assert with_schema(one) != with_schema(other)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_different_questions_never_share_a_key(one: str, other: str) -> None:
    def key_of(text: str) -> bytes:
        request = generation_pb2.GenerateRequest(
            messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content=text)]
        )
        found = canonicalize(GENERATE, request.SerializeToString())
        assert found is not None
        return found.form

    assert (key_of(one) == key_of(other)) == (one == other)


@given(st.lists(st.text(alphabet="ab\0", max_size=4), min_size=4, max_size=4), st.data())
def test_the_parts_of_a_key_cannot_run_into_each_other(parts: list[str], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.text(alphabet="ab\0", max_size=4), min_size=4, max_size=4))

    def made(of: list[str]) -> bytes:
        return answer_key(
            CanonicalRequest(of[0].encode(), deterministic=True),
            scope=of[1],
            model=of[2].encode(),
            system_prompt=of[3],
            epochs=b"",
        )

    assert (made(parts) == made(others)) == (parts == others)


def test_tenants_models_experiments_and_tags_have_their_own_answers() -> None:
    kinds = [
        key(BODY),
        key(BODY, scope="tenant b"),
        key(BODY, model=b"n"),
        key(BODY, system_prompt="Be kind."),
        key(BODY, epochs=b"1"),
    ]
    assert len(set(kinds)) == len(kinds)
    assert all(len(kind) == 32 for kind in kinds)


def test_a_model_is_what_makes_it_answer_and_not_what_it_costs() -> None:
    assert model_identity(chat_model()) == model_identity(chat_model(prices={1: 5}, quality=0.9))
    for change in (
        {"source": "bundled:other.gguf"},
        {"backend": "vllm"},
        {"options": {"sampling": {"temperature": 0.6}}},
        {"context_tokens": 1024},
        {"max_output_tokens": 32},
    ):
        assert model_identity(chat_model()) != model_identity(chat_model(**change))


def test_edges_share_answers() -> None:
    typed = generation_pb2.GenerateRequest(
        request_id="mine",
        model="tiny",
        messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content="Hello")],
        sampling=generation_pb2.Sampling(temperature=0),
        max_output_tokens=8,
    )
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0,
        "max_completion_tokens": 8,
    }
    found = canonicalize(GENERATE, typed.SerializeToString())
    assert found is not None
    assert found.form == form(CHAT, body)
    embed = generation_pb2.EmbedRequest(model="m", inputs=["a", "b"])
    found = canonicalize(EMBED, embed.SerializeToString())
    assert found is not None
    assert found.form == form(EMBEDDING, {"model": "m", "input": ["a", "b"], "encoding_format": "base64"})
    assert found.form != form(EMBEDDING, {"model": "m", "input": ["b", "a"]})
    assert found.form != form(EMBEDDING, {"model": "m", "input": ["a", "b"], "dimensions": 8})


def test_a_resumable_stream_shares_answers_unless_a_seed_draws_them_otherwise() -> None:
    def made(*, resumable: bool, **sampling: Any) -> bytes:
        request = generation_pb2.GenerateRequest(
            prompt="x", resumable=resumable, sampling=generation_pb2.Sampling(**sampling)
        )
        found = canonicalize(GENERATE, request.SerializeToString())
        assert found is not None
        return found.form

    assert made(resumable=True, temperature=0) == made(resumable=False, temperature=0)
    assert made(resumable=True, temperature=0.5) == made(resumable=False, temperature=0.5)
    assert made(resumable=True, temperature=0.5, seed=1) != made(resumable=False, temperature=0.5, seed=1)
    resumed = generation_pb2.GenerateRequest(prompt="x", resume=generation_pb2.Resume(token_ids=[1]))
    assert canonicalize(GENERATE, resumed.SerializeToString()) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [({"temperature": 0}, True), ({"seed": 1}, True), ({"temperature": 0.7, "seed": 1}, True), ({}, False),
     ({"temperature": 0.1}, False)],
)  # fmt: skip
def test_what_is_the_same_each_time(body: dict[str, Any], expected: bool) -> None:
    found = read(CHAT, {"model": "tiny", "messages": [{"role": "user", "content": "x"}]} | body)
    assert found is not None
    assert found.deterministic is expected


def test_what_is_not_kept() -> None:
    assert read(COMPLETION, {"model": "tiny", "prompt": ["a", "b"]}) is None
    assert read(COMPLETION, {"model": "tiny", "prompt": ["a"]}) is not None
    assert read(CHAT, {"model": "tiny", "messages": "none"}) is None
    assert read(CHAT, {}, text="{") is None
    assert canonicalize(GENERATE, b"\xff") is None
    assert canonicalize("/enginehouse.api.inference.v1.GenerationService/Tokenize", b"") is None
    # A field that this version does not know, as a newer client may send.
    request = generation_pb2.GenerateRequest(prompt="x").SerializeToString()
    unknown = canonicalize(GENERATE, request + b"\xca\x3e\x01x")
    assert unknown is None or unknown.form != form(COMPLETION, {"model": "tiny", "prompt": "x"})


def test_the_question_is_apart_from_its_frame() -> None:
    one = read(CHAT, BODY)
    assert one is not None
    assert one.question == "Why is the sky blue?"
    other = read(CHAT, BODY | {"messages": [BODY["messages"][0], {"role": "user", "content": "Another?"}]})
    assert other is not None
    assert one.frame == other.frame != b""
    hotter = read(CHAT, BODY | {"seed": 8})
    assert hotter is not None
    assert hotter.frame != one.frame
    ended = read(CHAT, BODY | {"messages": [*BODY["messages"], {"role": "assistant", "content": "Rayleigh."}]})
    assert ended is not None
    assert (ended.question, ended.frame) == ("", b"")


def test_the_methods_that_the_contracts_call_replayable_are_those_with_a_canonical_form() -> None:
    """Each body is a good one for some method, and canonical for no other that the contracts do not name."""
    bodies = [
        generation_pb2.GenerateRequest(prompt="a").SerializeToString(),
        generation_pb2.EmbedRequest(inputs=["a"]).SerializeToString(),
        *(
            httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(body).encode()).SerializeToString()
            for body in (
                {"model": "m", "messages": [{"role": "user", "content": "a"}]},
                {"model": "m", "prompt": "a"},
                {"model": "m", "input": "a"},
            )
        ),
    ]
    for method in load_contracts().methods.values():
        kept = any(canonicalize(method.path, body) is not None for body in bodies)
        assert kept == method.replayable, method.path
