"""Scored prompts: the log probability of every token, as a computation without llama.cpp finds it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from google.api import httpbody_pb2

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, OutputFormat, Sampling
from enginehouse.kit.pricing import cost_nanos
from engines.inference.tests.text_engine import CACHED, INPUT, OUTPUT, PRICES, EngineClient, user
from engines.inference.tests.tiny_reference import log_probabilities

# llama.cpp keeps keys and values in 16 bits.
CACHE = 0.03
GREEDY = Sampling(temperature=0)
TEXT = "the cat in the hat 🐦 మంచి <|im_end|> రోజు\x00."


async def tokens_of(engine: EngineClient, text: str) -> list[int]:
    answer = await engine.unary("Tokenize", generation_pb2.TokenizeRequest(model="tiny", text=text))
    return list(answer.token_ids)


def read_tokens(usage: dict[int, int]) -> int:
    return usage.get(INPUT, 0) + usage.get(CACHED, 0)


@pytest.mark.parametrize("top", [0, 3])
async def test_a_prompts_tokens_have_the_models_own_numbers(engine: EngineClient, tiny: Path, top: int) -> None:
    tokens = await tokens_of(engine, "the cat 🐦 మంచి రోజు, the hat")
    tokens[5:5] = [2, 0]
    request = GenerateRequest(
        model="tiny", prompt_token_ids=tokens, echo=True, logprobs=True, top_logprobs=top, prompt_only=True
    )
    answer = await engine.generate(request)
    expected = log_probabilities(tiny, tokens)
    assert len(answer.logprobs) == len(tokens)
    assert answer.logprobs[0].unscored
    assert not answer.logprobs[0].top
    for position, entry in enumerate(answer.logprobs[1:], start=1):
        assert not entry.unscored
        row = expected[position - 1]
        assert entry.logprob == pytest.approx(row[tokens[position]], abs=CACHE)
        assert len(entry.top) == top
        assert [other.logprob for other in entry.top] == pytest.approx(sorted(row, reverse=True)[:top], abs=CACHE)
    assert answer.ends[0].finish_reason == generation_pb2.FINISH_REASON_LENGTH
    assert (answer.usage.get(OUTPUT, 0), read_tokens(answer.usage)) == (0, len(tokens))
    assert answer.tokens == {0: 0}


async def test_the_tokens_are_the_echoed_text(engine: EngineClient) -> None:
    request = GenerateRequest(
        model="tiny", prompt=TEXT, echo=True, logprobs=True, choices=2, max_output_tokens=4, sampling=GREEDY
    )
    answer = await engine.generate(request)
    count = read_tokens(answer.usage)
    for index in (0, 1):
        assert answer.text[index].startswith(TEXT)
        entries = [
            entry for response in answer.responses for delta in response.deltas if delta.index == index
            for entry in delta.logprobs
        ]  # fmt: skip
        assert b"".join(entry.bytes for entry in entries[:count]).decode() == TEXT
        assert len(entries) == count + answer.tokens[index]
        assert [entry.unscored for entry in entries] == [True] + [False] * (len(entries) - 1)


async def test_a_prompt_can_be_read_without_an_answer(engine: EngineClient) -> None:
    for echo, logprobs in ((False, False), (True, False), (False, True)):
        request = GenerateRequest(model="tiny", prompt="only this", echo=echo, logprobs=logprobs, prompt_only=True)
        answer = await engine.generate(request)
        assert answer.text == {0: "only this" if echo else ""}
        assert answer.usage.get(OUTPUT, 0) == 0
        assert read_tokens(answer.usage) == len(await tokens_of(engine, "only this"))
        assert not answer.logprobs
        assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS


async def test_a_prompt_of_tokens_is_the_prompt_of_their_text(engine: EngineClient) -> None:
    text = await engine.generate(
        GenerateRequest(model="tiny", prompt="the cat మం", sampling=GREEDY, max_output_tokens=9, echo=True)
    )
    tokens = await engine.generate(
        GenerateRequest(
            model="tiny", prompt_token_ids=await tokens_of(engine, "the cat మం"), sampling=GREEDY, max_output_tokens=9,
            echo=True,
        )
    )  # fmt: skip
    assert tokens.text == text.text
    error = await engine.refused(GenerateRequest(model="tiny", prompt_token_ids=[5, 99_999]))
    assert error.reason == "INVALID_REQUEST"
    assert error.violations[0].field == "prompt_token_ids[1]"
    assert "99999" in error.message


@pytest.mark.parametrize("source", [{"prompt": "hello"}, {"messages": [user("hello")]}])
@pytest.mark.parametrize("seed", range(4))
async def test_every_token_of_an_answer_has_its_entry(engine: EngineClient, source: Any, seed: int) -> None:
    # A random model's tokens are mostly bytes: many end within what may become a character.
    request = GenerateRequest(
        model="tiny", logprobs=True, top_logprobs=1, max_output_tokens=24, sampling=Sampling(temperature=2, seed=seed),
        **source,
    )  # fmt: skip
    answer = await engine.generate(request)
    assert len(answer.logprobs) == answer.tokens[0] == answer.usage[OUTPUT]
    assert b"".join(entry.bytes for entry in answer.logprobs).decode("utf-8", "replace") == answer.text[0]


async def test_the_end_of_an_answer_has_its_entry(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="hello", echo=True, logprobs=True, max_output_tokens=5)
    request.sampling.logit_bias.add(token_id=2, bias=100)
    answer = await engine.generate(request)
    assert answer.ends[0].finish_reason == generation_pb2.FINISH_REASON_STOP
    assert answer.text[0] == "hello"
    assert len(answer.logprobs) == read_tokens(answer.usage) + 1
    assert (answer.logprobs[-1].token, answer.logprobs[-1].bytes) == ("", b"")
    assert answer.logprobs[-1].logprob < 0


async def test_stop_texts_end_the_answer_and_not_the_prompt(engine: EngineClient) -> None:
    request = GenerateRequest(
        model="tiny", prompt="a C b", echo=True, logprobs=True, stop=["C"], max_output_tokens=9, sampling=GREEDY
    )
    [wanted] = await tokens_of(engine, "C")
    request.sampling.logit_bias.add(token_id=wanted, bias=100)
    answer = await engine.generate(request)
    assert answer.text[0] == "a C b"
    assert len(answer.logprobs) == read_tokens(answer.usage)


async def test_a_bound_form_is_scored_up_to_it(engine: EngineClient) -> None:
    request = GenerateRequest(
        model="tiny", prompt="say", echo=True, logprobs=True, format=OutputFormat(grammar='root ::= "yes"')
    )
    answer = await engine.generate(request)
    assert answer.text[0] == "sayyes"
    assert b"".join(entry.bytes for entry in answer.logprobs) == b"sayyes"


async def test_a_score_is_paid_for_as_a_prompt(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="x" * 100, echo=True, logprobs=True, prompt_only=True)
    count = len(await tokens_of(engine, "x" * 100))
    needed = cost_nanos(PRICES, {INPUT: count})
    error = await engine.refused(request, cap_nanos=needed - 1)
    assert error.reason == "BUDGET_EXHAUSTED"
    answer = await engine.generate(request, cap_nanos=needed)
    assert answer.usage == {INPUT: count}
    # Every token was computed again, whatever the cache holds.
    again = await engine.generate(request, cap_nanos=needed)
    assert again.usage == {INPUT: count}


async def test_a_score_that_is_left_frees_its_slot(engine: EngineClient) -> None:
    request = GenerateRequest(model="tiny", prompt="y" * 400, echo=True, logprobs=True, choices=3)
    call = engine.call(request)
    await anext(aiter(call))
    call.cancel()
    async with asyncio.timeout(10):
        while engine.busy():
            await asyncio.sleep(0.01)
    assert (await engine.generate(GenerateRequest(model="tiny", prompt="z", max_output_tokens=1))).ends


async def completion(engine: EngineClient, **body: Any) -> list[dict[str, Any]]:
    metadata = engine.issuer.metadata(
        "/enginehouse.api.openai.v1.TextService/CreateCompletion", models=["tiny"], prices=PRICES
    )
    message = httpbody_pb2.HttpBody(data=json.dumps({"model": "tiny"} | body).encode())
    data = b"".join([part.data async for part in engine.openai.CreateCompletion(message, metadata=metadata)])
    if not body.get("stream"):
        return [json.loads(data)]
    events = [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event]
    assert events.pop() == b"[DONE]"
    return [json.loads(event) for event in events]


async def test_harnesses_read_the_score_of_a_continuation(engine: EngineClient, tiny: Path) -> None:
    # As lm-eval's local-completions asks and reads: the last entry is the one token made, which is left out.
    prompts = [await tokens_of(engine, text) for text in ("the cat in the hat", "the cat మం")]
    asked = {"prompt": prompts, "max_tokens": 1, "logprobs": 1, "echo": True, "temperature": 0, "seed": 1234}
    [answer] = await completion(engine, **asked)
    chunks = await completion(engine, **asked, stream=True)
    for index, tokens in enumerate(prompts):
        expected = log_probabilities(tiny, tokens)
        own = answer["choices"][index]["logprobs"]
        assert len({len(entries) for entries in own.values()}) == 1
        context = 3
        scores = own["token_logprobs"][context:-1]
        assert scores == pytest.approx([expected[at - 1][tokens[at]] for at in range(context, len(tokens))], abs=CACHE)
        best = [max(top.values()) for top in own["top_logprobs"][context:-1]]
        greedy = [row[tokens[at]] == row.max() for at, row in enumerate(expected[context - 1 : -1], start=context)]
        assert [score == top for score, top in zip(scores, best, strict=True)] == greedy
        assert own["token_logprobs"][0] is None
        assert own["top_logprobs"][0] is None
        streamed: dict[str, list[Any]] = {name: [] for name in own}
        for chunk in chunks:
            choice = chunk["choices"][0]
            if choice["index"] == index and choice["logprobs"]:
                for name, entries in choice["logprobs"].items():
                    streamed[name] += entries
        assert streamed["tokens"] == own["tokens"]
        assert streamed["text_offset"] == own["text_offset"]
        assert streamed["token_logprobs"][1:] == pytest.approx(own["token_logprobs"][1:], abs=1e-3)
    assert answer["usage"]["prompt_tokens"] == sum(map(len, prompts))


async def test_no_tokens_and_an_empty_completion(engine: EngineClient) -> None:
    [answer] = await completion(engine, prompt="hello", max_tokens=0)
    assert answer["choices"][0]["text"] == ""
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0
    [answer] = await completion(engine, prompt="hello", max_tokens=0, echo=True, logprobs=2)
    assert answer["choices"][0]["text"] == "hello"
    assert answer["choices"][0]["logprobs"]["text_offset"] == list(range(5))
    assert answer["choices"][0]["logprobs"]["tokens"] == list("hello")
