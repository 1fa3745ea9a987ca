"""The grant's cap holds to the token, whatever is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, OutputFormat, Sampling, Tool, ToolChoice
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.engines.inference.generation.limits import output_limit
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.pricing import cost_nanos
from engines.inference.tests.text_engine import CACHED, INPUT, OUTPUT, PRICES, EngineClient, amounts, user

SAMPLING = Sampling(temperature=1.0, seed=11)
# Without it, a random model now and then ends by itself.
ENDLESS = OutputFormat(grammar="root ::= [a-z]{900}")


async def test_the_cap_stops_the_answer_at_the_last_token_it_pays_for(engine: EngineClient) -> None:
    # 5 prompt tokens at 50 and 7 of output at 200 nano-dollars, and 199 that buy nothing.
    cap = 5 * 50 + 7 * 200 + 199
    request = GenerateRequest(model="tiny", prompt="abcde", max_output_tokens=30, sampling=SAMPLING, format=ENDLESS)
    answer = await engine.generate(request, cap_nanos=cap)
    assert answer.tokens == {0: 7}
    assert answer.ends[0].finish_reason == generation_pb2.FINISH_REASON_LENGTH
    assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_BUDGET
    assert answer.summary.usage.cost_nanos == 5 * 50 + 7 * 200
    [record] = await engine.records(1)
    assert record.outcome == usage_pb2.OUTCOME_CAPPED
    assert record.usage.cost_nanos == 5 * 50 + 7 * 200


async def test_the_bound_that_was_met_is_the_one_named(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="abcde", max_output_tokens=7, sampling=SAMPLING, format=ENDLESS)
    answer = await engine.generate(request, cap_nanos=5 * 50 + 7 * 200)
    assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS
    [record] = await engine.records(1)
    assert record.outcome == usage_pb2.OUTCOME_COMPLETED


async def test_choices_share_the_cap(engine: EngineClient) -> None:
    cap = 5 * 50 + 20 * 200
    request = GenerateRequest(
        model="tiny", prompt="abcde", choices=6, max_output_tokens=30, sampling=SAMPLING, format=ENDLESS
    )
    answer = await engine.generate(request, cap_nanos=cap)
    assert answer.tokens == dict.fromkeys(range(6), 3)
    assert answer.summary.usage.cost_nanos == 5 * 50 + 18 * 200 <= cap


async def test_a_tool_call_is_cut_by_the_cap(engine: EngineClient) -> None:
    request = GenerateRequest(
        model="tools",
        messages=[user("go")],
        tools=[
            Tool(name="write", parameters_json_schema='{"properties":{"text":{"type":"string"}},"required":["text"]}')
        ],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED),
        sampling=SAMPLING,
    )
    whole = await engine.generate(request)
    prompt = whole.usage[INPUT]
    answer = await engine.generate(request, cap_nanos=prompt * 50 + 4 * 200)
    assert answer.tokens == {0: 4}
    assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_BUDGET


async def test_a_prompt_that_the_cap_cannot_pay_for_is_not_begun(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="abcde", choices=2)
    error = await engine.refused(request, cap_nanos=5 * 50 + 2 * 200 - 1)
    assert error.reason == "BUDGET_EXHAUSTED"
    assert "650 nano-dollars" in error.message
    assert (await engine.generate(request, cap_nanos=5 * 50 + 2 * 200)).tokens == {0: 1, 1: 1}
    refused = (await engine.records(2))[0]
    assert refused.outcome == usage_pb2.OUTCOME_REFUSED
    assert refused.usage.cost_nanos == 0


async def test_a_cached_prompt_costs_what_cached_input_costs(engine: EngineClient) -> None:
    request = GenerateRequest(
        model="tiny", prompt="a prompt that is sent twice", max_output_tokens=3, sampling=SAMPLING, format=ENDLESS
    )
    await engine.generate(request)
    answer = await engine.generate(request)
    assert answer.usage[CACHED] > 0
    assert answer.summary.usage.cost_nanos == cost_nanos(PRICES, answer.usage)
    assert amounts((await engine.records(2))[1]) == answer.usage


@pytest.mark.parametrize("dear_cache", [False, True])
async def test_a_cache_dearer_than_reading_does_not_pass_the_cap(engine: EngineClient, dear_cache: bool) -> None:
    prices = {**PRICES, CACHED: 500_000_000 if dear_cache else 0}
    request = GenerateRequest(
        model="tiny", prompt="a prompt that is sent twice", max_output_tokens=20, sampling=SAMPLING, format=ENDLESS
    )
    await engine.generate(request)
    tokens = (await engine.generate(request)).usage
    prompt = tokens[INPUT] + tokens[CACHED]
    cap = prompt * (500 if dear_cache else 50) + 5 * 200
    answer = await engine.generate(request, prices=prices, cap_nanos=cap)
    assert answer.tokens == {0: 5}
    assert answer.summary.usage.cost_nanos <= cap


units = st.integers(0, 10**9)


@given(
    input_tokens=st.integers(0, 5000),
    choices=st.integers(1, 8),
    requested=st.integers(0, 5000),
    default=st.integers(0, 5000),
    context=st.integers(1, 8000),
    prices=st.fixed_dictionaries({INPUT: units, CACHED: units, OUTPUT: units}),
    spent=st.dictionaries(st.sampled_from([INPUT, CACHED, OUTPUT]), st.integers(0, 100)),
    cap=st.integers(0, 10**10),
    cached=st.floats(0, 1),
)
def test_no_request_can_pass_its_cap(
    input_tokens: int,
    choices: int,
    requested: int,
    default: int,
    context: int,
    prices: dict[int, int],
    spent: dict[int, int],
    cap: int,
    cached: float,
) -> None:
    try:
        limit = output_limit(
            input_tokens=input_tokens,
            choices=choices,
            requested=requested,
            model_default=default,
            context_tokens=context,
            prices=prices,
            spent=spent,
            cap_nanos=cap,
        )
    except ServiceError as error:
        assert error.reason in ("BUDGET_EXHAUSTED", "CONTEXT_LENGTH_EXCEEDED")
        return
    from_cache = round(input_tokens * cached)
    used = {
        INPUT: spent.get(INPUT, 0) + input_tokens - from_cache,
        CACHED: spent.get(CACHED, 0) + from_cache,
        OUTPUT: spent.get(OUTPUT, 0) + choices * limit.tokens,
    }
    assert cost_nanos(prices, used) <= cap
    assert input_tokens + limit.tokens <= context
    assert 1 <= limit.tokens <= (requested or default or context)
    if limit.stopped_by == generation_pb2.STOPPED_BY_BUDGET:
        # One token more for each choice could have passed it.
        dearest = max(prices[INPUT], prices[CACHED]) * input_tokens
        before = sum(prices[unit] * amount for unit, amount in spent.items())
        assert before + dearest + prices[OUTPUT] * choices * (limit.tokens + 1) > cap * 10**6
