"""Completions as OpenAI's own client sends and reads them."""

import json

import openai
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.openai.text._completion_request import read_completion


async def test_answer(bench, say, summary):
    bench.engine.scripts = [[say("upon "), say("a time", finish_reason=2), summary(fresh=2, output=3, cost=4)]]
    answer = await bench.client.completions.create(model="tiny", prompt="Once", max_tokens=3, echo=True)
    assert answer.id == "cmpl-req-1"
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "upon a time"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.total_tokens == 5
    assert answer.usage.cost_nanos == 4
    asked = bench.engine.asked[0]
    assert (asked.prompt, asked.echo, asked.max_output_tokens) == ("Once", True, 3)


async def test_stream(bench, say, summary):
    bench.engine.scripts = [[say('a "b"\n'), say("c", finish_reason=2, stopped_by=3), summary(fresh=2, output=3)]]
    stream = await bench.client.completions.create(
        model="tiny", prompt="Once", stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].text for chunk in chunks[:2]] == ['a "b"\n', "c"]
    assert chunks[1].choices[0].finish_reason == "length"
    assert chunks[1].choices[0].stopped_by == "budget"
    assert chunks[2].choices == []
    assert chunks[2].usage.total_tokens == 5
    assert [len(bench.edge.messages), bench.edge.messages[0].content_type] == [3, "text/event-stream"]


async def test_each_prompt_gets_its_choices_and_the_usage_is_the_whole_calls(bench, summary):
    def both(*texts):
        deltas = [
            generation_pb2.ChoiceDelta(index=index, text=text, finish_reason=1) for index, text in enumerate(texts)
        ]
        return generation_pb2.GenerateResponse(model="tiny", deltas=deltas)

    script = [[both("a", "b"), summary(fresh=1, output=2)], [both("c", "d"), summary(fresh=2, output=4)]]
    bench.engine.scripts = script * 2
    answer = await bench.client.completions.create(model="tiny", prompt=["x", "y"], n=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert answer.usage.total_tokens == 6
    assert [asked.prompt for asked in bench.engine.asked] == ["x", "y"]
    stream = await bench.client.completions.create(model="tiny", prompt=["x", "y"], n=2, stream=True)
    assert {chunk.choices[0].index: chunk.choices[0].text async for chunk in stream} == dict(enumerate("abcd"))


async def test_logprobs_run_on_from_the_echoed_prompt(bench, say, summary):
    def entry(token):
        top = [generation_pb2.TokenLogprob(token="?", logprob=-2)]
        return generation_pb2.TokenLogprob(token=token, logprob=-1, top=top)

    messages = [say("ab", logprobs=[entry("a"), entry("b")]), say("cd", logprobs=[entry("cd")], finish_reason=1)]
    bench.engine.scripts = [[*messages, summary()]] * 2
    asked = {"model": "tiny", "prompt": "Once", "logprobs": 1, "echo": True}
    logprobs = (await bench.client.completions.create(**asked)).choices[0].logprobs
    assert logprobs.tokens == ["a", "b", "cd"]
    assert logprobs.text_offset == [4, 5, 6]
    assert logprobs.token_logprobs == [-1, -1, -1]
    assert logprobs.top_logprobs == [{"?": -2}] * 3
    stream = await bench.client.completions.create(**asked, stream=True)
    assert [chunk.choices[0].logprobs.text_offset async for chunk in stream] == [[4, 5], [6]]


async def test_the_engines_field_is_named_as_openais_parameter(bench):
    violation = FieldViolation("sampling.top_k", "top_k 9 is too many")
    bench.engine.scripts = [[ServiceError(Reason.INVALID_REQUEST, "top_k 9 is too many", violations=[violation])]]
    with pytest.raises(openai.BadRequestError) as raised:
        await bench.client.completions.create(model="tiny", prompt="x")
    assert raised.value.param == "top_k"


def test_logprobs_zero_still_asks_for_the_chosen_tokens():
    [request] = read_completion(b'{"model":"m","prompt":"x","logprobs":0}').prompts
    assert (request.logprobs, request.top_logprobs) == (True, 0)


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"echo": 1}, "echo"),
        ({"messages": []}, "messages"),
    ],
)
def test_refusals_name_the_parameter(extra, param):
    with pytest.raises(ServiceError) as raised:
        read_completion(json.dumps({"model": "m", "prompt": "x"} | extra).encode())
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert raised.value.violations[0].field == param
