"""The request that a chat completion's body becomes, and the errors for wrong ones."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.openai import openai_error
from enginehouse.kit.openai.text._chat_request import read_chat

BASE = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def read(**extra):
    return read_chat(json.dumps(BASE | extra).encode()).generate


def refused(body):
    with pytest.raises(ServiceError) as raised:
        read_chat(body if isinstance(body, bytes) else json.dumps(body).encode())
    status, error = openai_error(raised.value)
    assert status == 400
    error = json.loads(error)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    return error


def test_sampling_and_bounds():
    request = read(
        temperature=0, top_p=0.5, frequency_penalty=-2, presence_penalty=2, seed=5, max_tokens=9, n=3, top_k=40,
        min_p=0.05, repeat_penalty=1.1, stop=["a", "b"],
    )  # fmt: skip
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.top_k) == (0, 0.5, 5, 40)
    assert sampling.HasField("temperature")
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (-2, 2)
    assert math.isclose(sampling.min_p, 0.05, rel_tol=1e-6)
    assert (request.max_output_tokens, request.choices, list(request.stop)) == (9, 3, ["a", "b"])
    assert read(max_completion_tokens=4).max_output_tokens == 4
    assert list(read(stop="x").stop) == ["x"]


def test_null_is_as_good_as_absent():
    nulls = dict.fromkeys(["temperature", "seed", "stop", "tools", "response_format", "max_tokens", "logit_bias"])
    assert read(**nulls) == read()
    assert not read().sampling.HasField("temperature")


@pytest.mark.parametrize(
    "edge",
    [
        {"top_p": 0},
        {"top_p": 1},
        {"temperature": 0},
        {"temperature": 2},
        {"temperature": 2.0, "top_p": 0.0},
        {"frequency_penalty": -2, "presence_penalty": -2},
        {"frequency_penalty": 2.0, "presence_penalty": 2.0},
        {"logprobs": True, "top_logprobs": 0},
        {"logprobs": True, "top_logprobs": 20},
        {"logprobs": False, "top_logprobs": 0},
        {"logprobs": None, "top_logprobs": None},
        {"n": 1},
        {"n": 128},
        {"n": None},
        {"seed": 0},
        {"seed": -(2**63)},
        {"seed": 2**63 - 1},
        {"stop": None},
        {"stop": []},
        {"stop": ""},
        {"stop": [""]},
        {"stop": ["a", "b", "c", "d"]},
        {"max_tokens": None},
        {"max_completion_tokens": None},
        {"max_tokens": 1},
        {"logit_bias": None},
        {"logit_bias": {}},
        {"logit_bias": {"0": 100, "50256": -100, "7": 0.5}},
        {"stream_options": None},
        {"stream": None},
        {"user": ""},
        {"response_format": {"type": "text"}},
        {"tools": None, "tool_choice": None, "parallel_tool_calls": None},
    ],
)
def test_every_edge_of_a_documented_range_is_taken(edge):
    read(**edge)


def test_empty_stop_texts_are_none_and_biases_are_read_by_token():
    assert not read(stop="").stop
    assert list(read(stop=["", "x"]).stop) == ["x"]
    biases = read(logit_bias={"15": -100, "2": 0.5}).sampling.logit_bias
    assert [(change.token_id, change.bias) for change in biases] == [(15, -100), (2, 0.5)]


@pytest.mark.parametrize("seed", [-1, 2**63 - 1, -(2**63), 2**32 - 1])
def test_wide_seeds_stay_equal_and_never_ask_for_a_random_one(seed):
    assert read(seed=seed).sampling.seed == read(seed=seed).sampling.seed
    assert read(seed=seed).sampling.seed != 2**32 - 1


def test_roles_parts_and_tool_history():
    request = read(
        messages=[
            {"role": "developer", "content": "rules"},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None, "refusal": None, "annotations": [], "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"b":1,"a":2}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "found"},
        ]
    )  # fmt: skip
    assert [message.role for message in request.messages] == [1, 2, 3, 4]
    assert request.messages[1].content == "one\ntwo"
    assert request.messages[2].tool_calls[0].arguments == '{"b":1,"a":2}'
    assert request.messages[3].tool_call_id == "c1"


def test_schemas_keep_their_very_text():
    schema = '{ "z": 1.0, "a": 1e2,\n "m": {"b": 123456789012345678901234567890, "a": "\\u0c15"} }'
    body = (
        '{"tools": [{"type":"function","function":{"name":"f","parameters": SCHEMA}},'
        ' {"function":{"description":"d","name":"g"} , "type":"function"}],'
        ' "model":"m", "messages":[{"role":"user","content":"x"}],'
        ' "response_format": {"json_schema": {"schema": SCHEMA , "name":"n", "strict": true}, "type":"json_schema"}}'
    ).replace("SCHEMA", schema)
    request = read_chat(body.encode()).generate
    assert request.format.json_schema == schema
    assert request.tools[0].parameters_json_schema == schema
    assert request.tools[1].parameters_json_schema == ""
    assert request.tools[1].description == "d"


def test_formats():
    assert read(response_format={"type": "json_object"}).format.json_object
    assert read(response_format={"type": "text"}).format.WhichOneof("form") is None
    assert read(grammar='root ::= "a"').format.grammar == 'root ::= "a"'


@pytest.mark.parametrize(
    ("choice", "mode", "name"),
    [
        ("auto", generation_pb2.ToolChoice.MODE_UNSPECIFIED, ""),
        ("none", generation_pb2.ToolChoice.MODE_NONE, ""),
        ("required", generation_pb2.ToolChoice.MODE_REQUIRED, ""),
        ({"type": "function", "function": {"name": "look"}}, generation_pb2.ToolChoice.MODE_NAMED, "look"),
    ],
)
def test_tool_choice(choice, mode, name):
    request = read(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    assert (request.tool_choice.mode, request.tool_choice.name) == (mode, name)
    assert request.HasField("parallel_tool_calls")
    assert not request.parallel_tool_calls


def test_harmless_parameters_are_accepted():
    read(
        store=True, metadata={"a": "b"}, service_tier="auto", reasoning_effort="low", user="u", logit_bias={},
        prompt_cache_key="k", safety_identifier="s", verbosity="low", modalities=["text"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages[0].colour"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "system", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "contents": "x"}]}, "messages[0].contents"),
        ({"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "messages[0].audio"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"messages": [{"role": "user", "content": "x", "function_call": {"name": "f"}}]}, "messages[0].function_call"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": -0.01}, "top_p"),
        ({"top_p": 10**30}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": 1.5}, "n"),
        ({"seed": 2**63}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": -(10**50)}, "max_tokens"),
        ({"max_completion_tokens": "9"}, "max_completion_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "max_tokens"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", None]}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["a" * 257]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"50256": -100.5}}, "logit_bias.50256"),
        ({"logit_bias": {"50256": None}}, "logit_bias.50256"),
        ({"logit_bias": {"the": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"9" * 30: 1}}, "logit_bias"),
        ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"web_search_options": {"a": 1}}, "web_search_options"),
        ({"max_token": 5}, "max_token"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_object"}, "grammar": "x"}, "grammar"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"function": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": "x"}}]},
            "tools[0].function.parameters",
        ),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tools": [TOOL] * 129}, "tools"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": 5}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice.function.name",
        ),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.type"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
    ],
)
def test_refusals_name_the_parameter(extra, param):
    error = refused(BASE | extra)
    assert error["param"] == param
    assert len(error["message"]) < 400


def test_unknown_parameter_names_the_nearest():
    error = refused(BASE | {"max_token": 5})
    assert error["code"] == "unknown_parameter"
    assert "'max_tokens'" in error["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"null", "must be a JSON object"),
        (b"[]", "must be a JSON object"),
        (b"{", "not JSON"),
        (b'{"model":"a"} x', "extra text"),
        (b'{"model":"a","model":"b"}', "'model' twice"),
        (b'{"model":"a","x":{"k":1,"k":2}}', "'k' twice"),
        (b'{"temperature":NaN}', "NaN"),
        (b'{"temperature":-Infinity}', "-Infinity"),
        (b'{"model":"\xff"}', "byte 10 is 0xff"),
        (b'{"model":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"model":"\\ud800"}', "not JSON"),
        (b'{"model":"a\nb"}', "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b'{"n":' + b"9" * 5000 + b"}", "thousands of digits"),
        (b"\xef\xbb\xbf{}", "not JSON"),
    ],
)
def test_bodies_that_are_not_strict_json(body, said):
    assert said in refused(body)["message"]


def test_escaped_pairs_of_surrogates_are_fine():
    body = b'{"model":"m","messages":[{"role":"user","content":"\\ud83d\\udc26"}]}'
    assert read_chat(body).generate.messages[0].content == "\U0001f426"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["model", "messages", "tools", "tool_choice", "response_format", "stop", "stream", "stream_options", "n", "seed",
     "temperature", "logprobs", "top_logprobs", "max_tokens", "modalities", "user", "grammar", "logit_bias"]
)  # fmt: skip


# How fast examples come says something of the machine, not of the code.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_json_is_read_or_refused(extra):
    try:
        read_chat(json.dumps(BASE | extra).encode())
    except ServiceError as error:
        status, body = openai_error(error)
    else:
        return
    assert status == 400
    assert len(body) < 3000


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    with pytest.raises(ServiceError):
        read_chat(b'{"model":"m",' + body)
