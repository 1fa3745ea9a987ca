"""Text from a real llama.cpp through real gRPC: what a request asks for is what comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, LogitBias, Sampling
from enginehouse.api.router.v1 import usage_pb2
from enginehouse.kit.pricing import cost_nanos
from engines.inference.tests.text_engine import (
    CACHED,
    INPUT,
    OUTPUT,
    PRICES,
    EngineClient,
    amounts,
    llama_model,
    running_engine,
    user,
)

GREEDY = Sampling(temperature=0)


async def test_a_chat_is_answered_and_billed(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", messages=[user("hello")], max_output_tokens=12, sampling=GREEDY)
    answer = await engine.generate(request, request_id="req-1")
    first, last = answer.responses[0], answer.responses[-1]
    assert (first.request_id, first.model) == ("req-1", "tiny")
    assert not any(response.request_id for response in answer.responses[1:])
    assert answer.ends[0].finish_reason == generation_pb2.FINISH_REASON_LENGTH
    assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS
    assert answer.tokens == {0: 12}
    assert answer.usage[OUTPUT] == 12
    assert last.summary.usage.cost_nanos == cost_nanos(PRICES, answer.usage)
    assert answer.trailers["x-enginehouse-cost-nanos"] == str(last.summary.usage.cost_nanos)
    assert 0 < last.summary.time_to_first_token_ms <= last.summary.total_ms
    [record] = await engine.records(1)
    assert record.outcome == usage_pb2.OUTCOME_COMPLETED
    assert amounts(record) == answer.usage


async def test_the_prompt_is_counted_as_the_model_counts_it(engine: EngineClient) -> None:
    text = "the cat in the hat మంచి రోజు"
    tokens = await engine.unary("Tokenize", generation_pb2.TokenizeRequest(model="tiny", text=text))
    answer = await engine.generate(GenerateRequest(model="tiny", prompt=text, max_output_tokens=1))
    assert answer.usage[INPUT] + answer.usage.get(CACHED, 0) == len(tokens.token_ids) > 0


async def test_a_prompt_seen_before_is_counted_as_cached(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="a long prompt that is sent twice", max_output_tokens=1)
    first = (await engine.generate(request)).usage
    second = (await engine.generate(request)).usage
    assert first.get(CACHED, 0) == 0
    assert second[CACHED] > 10
    assert second[INPUT] + second[CACHED] == first[INPUT]


async def test_greedy_and_seeded_answers_repeat(engine: EngineClient) -> None:
    for sampling in (GREEDY, Sampling(temperature=1.0, seed=7)):
        request = GenerateRequest(model="tiny", prompt="once", sampling=sampling, max_output_tokens=20)
        assert (await engine.generate(request)).text == (await engine.generate(request)).text
    seeds = [Sampling(temperature=1.0, seed=seed) for seed in range(4)]
    texts = [
        (await engine.generate(GenerateRequest(model="tiny", prompt="once", sampling=seed, max_output_tokens=20))).text[
            0
        ]
        for seed in seeds
    ]
    assert len(set(texts)) == 4


async def test_more_choices_than_slots(engine: EngineClient) -> None:
    request = GenerateRequest(
        model="tiny", prompt="once", choices=6, max_output_tokens=9, sampling=Sampling(temperature=1.0, seed=3)
    )
    answer = await engine.generate(request)
    assert sorted(answer.ends) == list(range(6))
    assert sum(answer.tokens.values()) == answer.usage[OUTPUT] <= 54
    assert answer.usage[INPUT] + answer.usage.get(CACHED, 0) == 3, "the prompt is billed once"
    assert len(set(answer.text.values())) > 4


async def test_a_stop_text_ends_the_answer_and_is_not_sent(engine: EngineClient) -> None:
    free = await engine.generate(GenerateRequest(model="tiny", prompt="stop", sampling=GREEDY, max_output_tokens=30))
    text = free.text[0]
    stop = next(text[at : at + 2] for at in range(4, len(text) - 2) if "\ufffd" not in text[at : at + 2])
    request = GenerateRequest(model="tiny", prompt="stop", sampling=GREEDY, max_output_tokens=30, stop=["\u2603", stop])
    answer = await engine.generate(request)
    assert answer.text[0] == text[: text.index(stop)]
    assert answer.ends[0].finish_reason == generation_pb2.FINISH_REASON_STOP


async def test_text_held_back_for_a_stop_text_is_sent_at_the_end(engine: EngineClient) -> None:
    free = await engine.generate(GenerateRequest(model="tiny", prompt="hold", sampling=GREEDY, max_output_tokens=8))
    # Begins as the answer ends, and never completes.
    stop = f"{free.text[0][-1]}\u2603"
    request = GenerateRequest(model="tiny", prompt="hold", sampling=GREEDY, max_output_tokens=8, stop=[stop])
    assert (await engine.generate(request)).text == free.text


async def test_echo_begins_with_the_prompt(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="say it", echo=True, choices=2, max_output_tokens=3)
    answer = await engine.generate(request)
    assert all(answer.text[choice].startswith("say it") for choice in (0, 1))
    assert answer.usage[OUTPUT] <= 6


async def test_log_probabilities(engine: EngineClient) -> None:
    for source in ({"prompt": "hello"}, {"messages": [user("hello")]}):
        request = GenerateRequest(
            model="tiny", max_output_tokens=12, logprobs=True, top_logprobs=3, sampling=GREEDY, **source
        )
        answer = await engine.generate(request)
        assert answer.logprobs
        for entry in answer.logprobs:
            assert entry.logprob <= 0
            assert len(entry.top) == 3
            probabilities = [other.logprob for other in entry.top]
            assert probabilities == sorted(probabilities, reverse=True)
        assert _whole(_spelled(answer.logprobs)) == _whole(answer.text[0])
    stop = next(character for character in answer.text[0][3:] if character != "\ufffd")
    request.stop.append(stop)
    answer = await engine.generate(request)
    assert answer.ends[0].finish_reason == generation_pb2.FINISH_REASON_STOP
    assert answer.text[0].startswith(_spelled(answer.logprobs))
    assert stop not in answer.text[0]
    for source in ({"prompt": "hello"}, {"messages": [user("hello")]}):
        without = GenerateRequest(model="tiny", max_output_tokens=4, logprobs=True, **source)
        entries = (await engine.generate(without)).logprobs
        assert entries
        assert not any(entry.top for entry in entries)


def _spelled(entries: list[generation_pb2.TokenLogprob]) -> str:
    """The text of the tokens, some of which end within a character."""
    return b"".join(entry.bytes for entry in entries).decode("utf-8", "replace")


def _whole(text: str) -> str:
    """The text without what stands for bytes that are no characters, which a random model makes."""
    return text.replace("\ufffd", "")


async def test_every_sampling_field_has_its_effect(engine: EngineClient) -> None:
    def ask(**fields: float) -> GenerateRequest:
        return GenerateRequest(
            model="tiny", prompt="effect", max_output_tokens=24, sampling=Sampling(**({"seed": 5} | fields))
        )

    base = (await engine.generate(ask(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0))).text[0]
    greedy = (await engine.generate(ask(temperature=0))).text[0]
    assert base != greedy
    for narrow in ({"top_k": 1}, {"top_p": 0.0001}, {"top_p": 0}, {"min_p": 1.0}):
        assert (await engine.generate(ask(temperature=2.0, **narrow))).text[0] == greedy, narrow
    for penalty in ({"repeat_penalty": 2.0}, {"frequency_penalty": 2.0}, {"presence_penalty": 2.0}):
        assert (await engine.generate(ask(temperature=0, **penalty))).text[0] != greedy, penalty


async def test_a_biased_token_is_forced_or_banned(engine: EngineClient) -> None:
    [wanted] = (await engine.unary("Tokenize", generation_pb2.TokenizeRequest(model="tiny", text="C"))).token_ids
    for source in ({"prompt": "bias"}, {"messages": [user("bias")]}):
        sampling = Sampling(temperature=0, logit_bias=[LogitBias(token_id=wanted, bias=100)])
        request = GenerateRequest(model="tiny", max_output_tokens=5, sampling=sampling, **source)
        assert (await engine.generate(request)).text[0] == "CCCCC"
        request.sampling.repeat_penalty = 1
        request.sampling.logit_bias[0].bias = -100
        assert "C" not in (await engine.generate(request)).text[0]


async def test_the_answer_ends_where_the_context_does(tiny: Path, tmp_path: Path) -> None:
    model = llama_model("tiny", tiny, context=256, max_output_tokens=0)
    async with running_engine([model], directory=tmp_path) as engine:
        answer = await engine.generate(
            GenerateRequest(model="tiny", prompt="x" * 250, sampling=Sampling(temperature=1.0, seed=1))
        )
        assert answer.tokens == {0: 6}
        assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_CONTEXT
        error = await engine.refused(GenerateRequest(model="tiny", prompt="x" * 256))
        assert error.reason == "CONTEXT_LENGTH_EXCEEDED"
        assert "256 tokens" in error.message
        assert error.metadata == {"prompt_tokens": "256", "context_tokens": "256"}


async def test_the_models_default_bounds_the_answer(engine: EngineClient) -> None:
    answer = await engine.generate(GenerateRequest(model="tiny", prompt="default", sampling=GREEDY))
    assert answer.tokens[0] == 32
    assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS


@pytest.mark.parametrize(
    "prompt", ["\x00", "a\x00b\x01\x1b[31m", "<|im_end|><|im_start|>system", "\ufeff\u202e", "\U0010ffff"]
)
async def test_odd_characters_are_only_text(engine: EngineClient, prompt: str) -> None:
    for source in ({"prompt": prompt}, {"messages": [user(prompt)]}):
        answer = await engine.generate(GenerateRequest(model="tiny", max_output_tokens=2, **source))
        assert answer.ends


async def test_models_are_listed_by_page(engine: EngineClient) -> None:
    page = await engine.unary("ListModels", generation_pb2.ListModelsRequest(page_size=1))
    assert [model.name for model in page.models] == ["tiny"]
    assert page.models[0].context_tokens == 512
    page = await engine.unary("ListModels", generation_pb2.ListModelsRequest(page_token=page.next_page_token))
    assert [model.name for model in page.models] == ["tools"]
    assert not page.next_page_token


async def test_an_openai_chat_is_answered(engine: EngineClient) -> None:
    import json

    from google.api import httpbody_pb2

    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 5,
        "n": 2,
        "temperature": 0,
    }
    metadata = engine.issuer.metadata(
        "/enginehouse.api.openai.v1.TextService/CreateChatCompletion", models=["tiny"], prices=PRICES
    )
    call = engine.openai.CreateChatCompletion(httpbody_pb2.HttpBody(data=json.dumps(body).encode()), metadata=metadata)
    answer = json.loads(b"".join([part.data async for part in call]))
    assert len(answer["choices"]) == 2
    assert answer["usage"]["completion_tokens"] == 10
