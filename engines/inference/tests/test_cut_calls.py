"""Calls that are cut, and answers that llama.cpp's reader of calls cannot read: they end, with what was written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.inference.v1.generation_pb2 import GenerateRequest, OutputFormat, Sampling, Tool
from enginehouse.api.router.v1 import usage_pb2
from engines.inference.tests.scripted_gguf import write_scripted_llama
from engines.inference.tests.text_engine import OUTPUT, EngineClient, llama_model, running_engine, user

LENGTH, STOP = generation_pb2.FINISH_REASON_LENGTH, generation_pb2.FINISH_REASON_STOP
WEATHER = Tool(
    name="get_weather",
    parameters_json_schema=json.dumps(
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    ),
)
SCRIPTS = {
    # A call, cut in every place.
    "call": [
        b"So. ",
        b"<tool_",
        b"call>\n",
        b'{"name": "get_wea',
        b'ther", "argu',
        b'ments": {"city": ',
        b'"Gun',
        b'tur"}}',
    ],
    # Bytes that are no text where a call has to begin, after which llama.cpp reads no more.
    "garbled": [b"So it ", b"is. ", b"<tool_call>", b"\xff\xfe?", b"yy"],
    # The beginning of a call within which the bytes of a character are missing.
    "broken": [
        b"So: ",
        b' <tool_call>\n{"name": "ge',
        b't_weather", "arguments": {"city": "\xed\xa0\x80\xff',
        b'"}}\n',
    ],
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scripts")
    return {name: write_scripted_llama(folder / f"{name}.gguf", pieces) for name, pieces in SCRIPTS.items()}


@pytest.fixture
async def scripted(scripts: dict[str, Path], tmp_path: Path) -> AsyncIterator[EngineClient]:
    models = [llama_model(name, path, context=2048) for name, path in scripts.items()]
    async with running_engine(models, directory=tmp_path) as client:
        yield client


def asked(model: str, tokens: int, **more: object) -> GenerateRequest:
    values: dict[str, object] = {"sampling": Sampling(temperature=0), "tools": [WEATHER]} | more
    return GenerateRequest(model=model, messages=[user("hi")], max_output_tokens=tokens, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", sorted(SCRIPTS))
async def test_an_answer_cut_in_any_place_has_its_length(scripted: EngineClient, model: str) -> None:
    for tokens in range(1, len(SCRIPTS[model])):
        answer = await scripted.generate(asked(model, tokens))
        assert answer.ends[0].finish_reason == LENGTH, tokens
        assert answer.ends[0].stopped_by == generation_pb2.STOPPED_BY_MAX_OUTPUT_TOKENS
        assert answer.text[0].startswith("So")
        assert answer.tokens[0] == answer.usage[OUTPUT] == tokens
    records = await scripted.records(len(SCRIPTS[model]) - 1)
    assert {record.outcome for record in records} == {usage_pb2.OUTCOME_COMPLETED}


async def test_an_answer_that_cannot_be_read_ends_as_the_model_ended_it(scripted: EngineClient) -> None:
    answer = await scripted.generate(asked("garbled", 60))
    assert answer.ends[0].finish_reason == STOP
    assert answer.text[0] == "So it is. "
    assert 3 < answer.usage[OUTPUT] < 60
    assert answer.tokens[0] == answer.usage[OUTPUT]


async def test_every_choice_ends_for_itself(scripted: EngineClient) -> None:
    answer = await scripted.generate(asked("garbled", 4, choices=6))
    assert [answer.ends[index].finish_reason for index in range(6)] == [LENGTH] * 6
    assert answer.usage[OUTPUT] == sum(answer.tokens.values())


async def test_cut_with_stop_texts(scripted: EngineClient) -> None:
    answer = await scripted.generate(asked("garbled", 4, stop=[". \u2603"]))
    assert answer.ends[0].finish_reason == LENGTH
    # What was held back for a stop text is given at the end.
    assert answer.text[0] == "So it is. "
    answer = await scripted.generate(asked("garbled", 4, stop=["is"]))
    assert answer.ends[0].finish_reason == STOP
    assert answer.text[0] == "So it "


async def test_random_answers_with_tools_always_end(engine: EngineClient) -> None:
    for seed in range(43, 47):
        request = asked("tools", 60, choices=4, sampling=Sampling(temperature=2.0, seed=seed))
        answer = await engine.generate(request)
        assert len(answer.ends) == 4


@pytest.mark.parametrize("model", ["tiny", "tools"])
async def test_a_stop_text_ends_an_answer_of_the_form(engine: EngineClient, model: str) -> None:
    form = OutputFormat(json_schema=json.dumps({"const": {"a": 1, "b": [2, 3]}}))
    whole: list[str] = []
    for seed in range(60):
        request = asked(model, 400, format=form, sampling=Sampling(temperature=2.0, seed=seed), stop=["[", "city"])
        request.messages[0].content = f"Which weather? {seed * 7919}"
        answer = await engine.generate(request)
        if answer.calls or answer.text[0].startswith("<"):
            # A call, or the beginning of one, which is not searched.
            assert answer.ends[0].finish_reason != STOP
            continue
        assert "[" not in answer.text[0]
        if answer.ends[0].finish_reason == STOP:
            whole.append(answer.text[0])
            break
    assert whole
    assert whole[0].rstrip().endswith(":")
