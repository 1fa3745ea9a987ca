"""The count of a prompt without a generation, beside what generations report of the same request."""

from __future__ import annotations

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import (
    CountTokensRequest,
    GenerateRequest,
    Message,
    OutputFormat,
    Sampling,
    Tool,
    ToolChoice,
)
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai import read_chat
from engines.inference.tests.text_engine import CACHED, INPUT, EngineClient, user

SYSTEM = Message(role=generation_pb2.ROLE_SYSTEM, content="Answer in one word. ఒక్క మాట")
WEATHER = Tool(
    name="weather",
    description="Tells the weather",
    parameters_json_schema='{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}',
)
OPENAI_CHAT = b"""{"model":"tiny","max_tokens":4,"messages":[{"role":"system","content":"Be brief."},
    {"role":"user","content":[{"type":"text","text":"Hello "},{"type":"text","text":"there"}]}]}"""


@pytest.mark.parametrize(
    "request_",
    [
        GenerateRequest(model="tiny", messages=[user("hello")]),
        GenerateRequest(model="tiny", messages=[SYSTEM, user("hello"), user("again")]),
        GenerateRequest(model="tiny", prompt="Once upon a time మంచి"),
        GenerateRequest(model="tiny", prompt_token_ids=[5, 6, 7]),
        GenerateRequest(model="tiny", messages=[user("hello")], logprobs=True),
        GenerateRequest(model="tiny", messages=[user("hello")], resumable=True),
        GenerateRequest(model="tiny", messages=[user("hello")], format=OutputFormat(json_object=True)),
        GenerateRequest(model="tiny", messages=[user("hello")], tools=[WEATHER]),
        GenerateRequest(model="tools", messages=[SYSTEM, user("hello")], tools=[WEATHER]),
        GenerateRequest(
            model="tools",
            messages=[user("hello")],
            tools=[WEATHER],
            tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED),
        ),
        read_chat(OPENAI_CHAT).generate,
    ],
)
async def test_a_prompt_is_counted_as_a_generation_reports_it(engine: EngineClient, request_: GenerateRequest) -> None:
    request_.sampling.CopyFrom(Sampling(temperature=0))
    request_.max_output_tokens = 4
    # For a model that is loaded.
    await engine.generate(request_)
    counted = await engine.unary("CountTokens", CountTokensRequest(generate=request_), models=[request_.model])
    usage = (await engine.generate(request_)).usage
    assert counted.model == request_.model
    assert counted.input_tokens == usage.get(INPUT, 0) + usage.get(CACHED, 0) > 0


async def test_counting_does_not_load_a_model(engine: EngineClient) -> None:
    with pytest.raises(ServiceError) as refused:
        await engine.unary("CountTokens", CountTokensRequest(generate=GenerateRequest(model="tiny", prompt="x")))
    assert refused.value.reason is Reason.FAILED_PRECONDITION
    assert engine.engine.models.find("tiny").loaded is None


async def test_a_request_that_would_be_refused_is_not_counted(engine: EngineClient) -> None:
    for request in (GenerateRequest(model="tiny"), GenerateRequest(model="tiny", prompt="x", choices=-1)):
        with pytest.raises(ServiceError) as refused:
            await engine.unary("CountTokens", CountTokensRequest(generate=request))
        assert refused.value.reason is Reason.INVALID_REQUEST


async def test_a_count_costs_nothing(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="x", max_output_tokens=1)
    await engine.generate(request)
    await engine.unary("CountTokens", CountTokensRequest(generate=request))
    _, record = await engine.records(2)
    assert record.usage.cost_nanos == 0
    assert not record.usage.units
