"""Refused requests: the errors are typed and name the field, the bad value and the fix."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import (
    EmbedRequest,
    GenerateRequest,
    ListModelsRequest,
    LogitBias,
    Message,
    OutputFormat,
    Sampling,
    TokenizeRequest,
    Tool,
    ToolCall,
    ToolChoice,
)
from enginehouse.engines.inference.validation import check_embed, check_generate, check_list_models, check_tokenize
from enginehouse.kit.errors import ServiceError
from engines.inference.tests.text_engine import EngineClient, user

ASSISTANT, TOOL = generation_pb2.ROLE_ASSISTANT, generation_pb2.ROLE_TOOL


def chat(**fields: Any) -> GenerateRequest:
    return GenerateRequest(**{"model": "tiny", "messages": [user("hi")]} | fields)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (GenerateRequest(), "messages"),
        (chat(prompt="and this"), "messages"),
        (chat(request_id="has space"), "request_id"),
        (chat(request_id="x" * 65), "request_id"),
        (chat(messages=[Message(content="who?")]), "messages[0].role"),
        (chat(messages=[user("hi"), Message(role=99, content="x")]), "messages[1].role"),  # type: ignore[arg-type]
        (chat(messages=[Message(role=TOOL, content="4")]), "messages[0].tool_call_id"),
        (
            chat(messages=[Message(role=generation_pb2.ROLE_USER, content="x", tool_calls=[ToolCall(name="f")])]),
            "messages[0].tool_calls",
        ),
        (chat(messages=[Message(role=ASSISTANT, tool_calls=[ToolCall(id="1")])]), "messages[0].tool_calls[0].name"),
        (chat(sampling=Sampling(temperature=-0.1)), "sampling.temperature"),
        (chat(sampling=Sampling(temperature=2.1)), "sampling.temperature"),
        (chat(sampling=Sampling(temperature=math.nan)), "sampling.temperature"),
        (chat(sampling=Sampling(temperature=math.inf)), "sampling.temperature"),
        (chat(sampling=Sampling(top_p=-0.1)), "sampling.top_p"),
        (chat(sampling=Sampling(logit_bias=[LogitBias(token_id=-1)])), "sampling.logit_bias[0].token_id"),
        (chat(sampling=Sampling(logit_bias=[LogitBias(), LogitBias(bias=100.5)])), "sampling.logit_bias[1].bias"),
        (chat(sampling=Sampling(logit_bias=[LogitBias()] * 1025)), "sampling.logit_bias"),
        (chat(sampling=Sampling(top_p=1.1)), "sampling.top_p"),
        (chat(sampling=Sampling(top_k=-1)), "sampling.top_k"),
        (chat(sampling=Sampling(min_p=-0.5)), "sampling.min_p"),
        (chat(sampling=Sampling(min_p=1.5)), "sampling.min_p"),
        (chat(sampling=Sampling(frequency_penalty=2.5)), "sampling.frequency_penalty"),
        (chat(sampling=Sampling(presence_penalty=-2.5)), "sampling.presence_penalty"),
        (chat(sampling=Sampling(repeat_penalty=0)), "sampling.repeat_penalty"),
        (chat(sampling=Sampling(repeat_penalty=-math.inf)), "sampling.repeat_penalty"),
        (chat(max_output_tokens=-1), "max_output_tokens"),
        (chat(stop=["x"] * 17), "stop"),
        (chat(stop=[""]), "stop[0]"),
        (chat(stop=["ok", "త" * 86]), "stop[1]"),
        (chat(choices=129), "choices"),
        (chat(choices=-1), "choices"),
        (chat(top_logprobs=1), "top_logprobs"),
        (chat(logprobs=True, top_logprobs=21), "top_logprobs"),
        (chat(echo=True), "echo"),
        (chat(prompt_only=True), "prompt_only"),
        (chat(prompt_token_ids=[1]), "messages"),
        (GenerateRequest(model="tiny", prompt="x", prompt_token_ids=[1]), "messages"),
        (GenerateRequest(model="tiny", prompt_token_ids=[1, -1]), "prompt_token_ids"),
        (GenerateRequest(model="tiny", prompt="x", prompt_only=True, max_output_tokens=1), "max_output_tokens"),
        (chat(format=OutputFormat(json_object=False)), "format.json_object"),
        (chat(format=OutputFormat(grammar="")), "format.grammar"),
        (chat(format=OutputFormat(grammar="x" * 70_000)), "format.grammar"),
        (chat(tools=[Tool(name="bad name")]), "tools[0].name"),
        (chat(tools=[Tool(name="")]), "tools[0].name"),
        (chat(tools=[Tool(name="a"), Tool(name="a")]), "tools[1].name"),
        (chat(tools=[Tool(name=f"t{n}") for n in range(129)]), "tools"),
        (chat(tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED)), "tools"),
        (
            chat(tools=[Tool(name="a")], tool_choice=ToolChoice(mode=ToolChoice.MODE_NAMED, name="b")),
            "tool_choice.name",
        ),
        (chat(tools=[Tool(name="a")], tool_choice=ToolChoice(name="a")), "tool_choice.name"),
        (chat(tool_choice=ToolChoice(mode=77)), "tool_choice.mode"),  # type: ignore[arg-type]
        (GenerateRequest(model="tiny", prompt="x", tools=[Tool(name="a")]), "tools"),
        (EmbedRequest(), "inputs"),
        (EmbedRequest(inputs=["x"] * 2049), "inputs"),
        (EmbedRequest(inputs=["x", ""]), "inputs[1]"),
        (EmbedRequest(inputs=["x"], dimensions=-1), "dimensions"),
        (TokenizeRequest(text="x" * (2**20 + 1)), "text"),
        (ListModelsRequest(page_size=-1), "page_size"),
        (ListModelsRequest(page_size=1001), "page_size"),
    ],
)
def test_a_field_out_of_range_is_named(request_: Any, field: str) -> None:
    check = {
        GenerateRequest: check_generate,
        EmbedRequest: check_embed,
        TokenizeRequest: check_tokenize,
        ListModelsRequest: check_list_models,
    }[type(request_)]
    with pytest.raises(ServiceError) as raised:
        check(request_)
    assert raised.value.reason == "INVALID_REQUEST"
    assert field in [violation.field for violation in raised.value.violations]


def test_the_edges_of_every_range_are_taken() -> None:
    low = Sampling(
        temperature=0, top_p=0, top_k=0, min_p=0, frequency_penalty=-2, presence_penalty=-2, repeat_penalty=0.001
    )
    high = Sampling(
        temperature=2, top_p=1, min_p=1, frequency_penalty=2, presence_penalty=2, repeat_penalty=2, seed=2**32 - 1
    )
    for sampling in (low, high):
        check_generate(chat(sampling=sampling))
    check_generate(chat(stop=["x" * 256] * 16, choices=128, logprobs=True, top_logprobs=20, request_id="x" * 64))
    check_generate(chat(messages=[user("2+2"), Message(role=ASSISTANT, tool_calls=[ToolCall(id="1", name="add")]),
                                  Message(role=TOOL, tool_call_id="1", content="4")]))  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[1]", "not list"),
        ('{"maximum":NaN}', "NaN"),
        ('{"const":1e400}', "1e400 is too large a number"),
        ('{"minLength":1e400}', "1e400 is too large a number"),
        (r'{"const":"\ud800"}', "is not JSON"),
        ('{"required":[{}]}', "list of names"),
        ("3", "not int"),
        ("[" * 100_000, "at most 65536"),
        ("[" * 60_000, "is not JSON"),
        (json.dumps({"a": json.loads("[" * 80 + "]" * 80)}), "nested"),
        ('{"type":"nope"}', "'nope'"),
        ('{"$ref":"#/$defs/missing"}', "points at nothing"),
        ('{"$ref":"http://127.0.0.1/x"}', "out of the schema"),
        ('{"type":"integer","minimum":5,"maximum":1}', "no number is within its bounds"),
        ('{"type":"string","pattern":"("}', "not a regular expression"),
        ('{"type":"string","pattern":"(?<=a)b"}', "not supported"),
        ('{"type":"array","uniqueItems":true}', "uniqueItems"),
        ('{"type":"array","items":{"type":"string"},"minItems":5,"maxItems":2}', "minItems 5"),
        ('{"anyOf":[]}', "anyOf"),
        ('{"anyOf":[{"$ref":"#"}]}', "leads back to itself"),
        ('{"$ref":"#","type":"object"}', ""),
    ],
)
async def test_a_schema_that_cannot_be_enforced_is_refused(engine: EngineClient, schema: str, said: str) -> None:
    error = await engine.refused(chat(format=OutputFormat(json_schema=schema)))
    assert error.reason == "INVALID_SCHEMA"
    assert said in error.message


@pytest.mark.parametrize(
    "grammar",
    [
        "root ::= (",
        'root ::= "a',
        "root ::= [a",
        "root ::= nothing",
        'other ::= "a"',
        'root ::= root "a" | "b"',
        'root ::= "a"{1,1000000}{1,1000000}',
        "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000,
        '%llguidance {}\nstart: "a"',
        "\x00\x01",
        "no grammar at all",
    ],
)
async def test_a_grammar_that_cannot_be_compiled_is_refused(engine: EngineClient, grammar: str) -> None:
    for source in ({}, {"messages": [], "prompt": "x"}):
        error = await engine.refused(chat(format=OutputFormat(grammar=grammar), **source))
        assert error.reason == "INVALID_SCHEMA"
    assert (await engine.generate(chat(format=OutputFormat(grammar='root ::= "yes"')))).text == {0: "yes"}


async def test_a_conversation_that_the_template_refuses(engine: EngineClient) -> None:
    error = await engine.refused(chat(messages=[Message(role=ASSISTANT, content="I begin")]))
    assert error.reason == "INVALID_REQUEST"
    assert "A conversation begins with the user" in error.message


async def test_a_model_that_is_not_served(engine: EngineClient) -> None:
    error = await engine.refused(chat(model="gpt-9"))
    assert error.reason == "NO_ENDPOINT"
    assert "gpt-9" in error.message


async def test_a_call_without_a_grant(engine: EngineClient) -> None:
    import grpc

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await engine.stub.Tokenize(TokenizeRequest(model="tiny", text="x"))
    assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED


async def test_what_the_model_cannot_do(tiny: Any, tmp_path: Any) -> None:
    from engines.inference.tests.text_engine import llama_model, running_engine

    model = llama_model("tiny", tiny, capabilities=frozenset({"chat"}))
    async with running_engine([model], directory=tmp_path) as engine:
        for request, capability in (
            (GenerateRequest(model="tiny", prompt="x"), "completion"),
            (chat(tools=[Tool(name="a")]), "tools"),
            (chat(format=OutputFormat(json_object=True)), "json_schema"),
            (chat(format=OutputFormat(grammar='root ::= "x"')), "grammar"),
            (chat(logprobs=True), "logprobs"),
        ):
            error = await engine.refused(request)
            assert error.reason == "UNSUPPORTED_CAPABILITY"
            assert repr(capability) in error.message
        with pytest.raises(ServiceError, match="'embeddings'"):
            await engine.unary("Embed", EmbedRequest(model="tiny", inputs=["x"]), models=["tiny"])


async def test_eight_megabytes_are_refused_for_what_they_are(engine: EngineClient) -> None:
    error = await engine.refused(GenerateRequest(model="tiny", prompt="x " * (4 * 2**20)))
    assert error.reason == "CONTEXT_LENGTH_EXCEEDED"
    error = await engine.refused(GenerateRequest(model="tiny", prompt="x" * 100_000))
    assert error.reason == "CONTEXT_LENGTH_EXCEEDED"
    assert "512" in error.message
    assert "100000" in error.message
