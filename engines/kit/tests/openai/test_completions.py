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


def entry(token, **fields):
    text = token if isinstance(token, bytes) else token.encode()
    values = {"token": text.decode("utf-8", "replace"), "bytes": text, "logprob": -1}
    return generation_pb2.TokenLogprob(**(values | fields))


async def test_logprobs_of_the_echoed_prompt_come_first(bench, say, summary):
    top = [entry("?", logprob=-0.5)]
    messages = [
        say("Once ab", logprobs=[entry("Once", unscored=True), entry(" a", top=top), entry("b", top=top)]),
        say("cd", logprobs=[entry("cd", logprob=-0.25, top=[entry("cd", logprob=-0.25)])], finish_reason=1),
    ]
    bench.engine.scripts = [[*messages, summary()]] * 2
    asked = {"model": "tiny", "prompt": "Once", "logprobs": 1, "echo": True}
    logprobs = (await bench.client.completions.create(**asked)).choices[0].logprobs
    assert logprobs.tokens == ["Once", " a", "b", "cd"]
    assert logprobs.text_offset == [0, 4, 6, 7]
    assert logprobs.token_logprobs == [None, -1, -1, -0.25]
    assert logprobs.top_logprobs == [None, {"?": -0.5, " a": -1}, {"?": -0.5, "b": -1}, {"cd": -0.25}]
    stream = await bench.client.completions.create(**asked, stream=True)
    assert [chunk.choices[0].logprobs.text_offset async for chunk in stream] == [[0, 4, 6], [7]]


async def test_tokens_within_a_character_are_told_as_bytes(bench, say, summary):
    parts = [bytes([byte]) for byte in "క".encode()]
    message = say("aకb", logprobs=[entry("a"), *map(entry, parts), entry("b"), entry("")], finish_reason=1)
    bench.engine.scripts = [[message, summary()]]
    logprobs = (await bench.client.completions.create(model="tiny", prompt="x", logprobs=0)).choices[0].logprobs
    assert logprobs.tokens == ["a", r"bytes:\xe0", r"bytes:\xb0", r"bytes:\x95", "b", ""]
    assert logprobs.text_offset == [0, 1, 1, 1, 2, 3]
    assert logprobs.top_logprobs == [{}] * 6


async def test_prompts_as_tokens(bench, say, summary):
    for prompt, expected in (
        ([5, 6], [[5, 6]]),
        ([5.0, 6], [[5, 6]]),
        ([[5], [6, 7]], [[5], [6, 7]]),
        (["a", [6]], [[], [6]]),
    ):
        request = read_completion(json.dumps({"model": "m", "prompt": prompt}).encode())
        assert [list(asked.prompt_token_ids) for asked in request.prompts] == expected
    assert request.prompts[0].prompt == "a"


def test_no_tokens_are_asked_for():
    [request] = read_completion(b'{"model":"m","prompt":"x","max_tokens":0,"echo":true}').prompts
    assert (request.prompt_only, request.max_output_tokens) == (True, 0)
    [request] = read_completion(b'{"model":"m","prompt":"x","max_tokens":null}').prompts
    assert (request.prompt_only, request.max_output_tokens) == (False, 0)


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
        ({"prompt": [1, -2]}, "prompt"),
        ({"prompt": [1, 2.5]}, "prompt"),
        ({"prompt": [1, True]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [1, 2**31]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [[1, [2]]]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"max_tokens": -1}, "max_tokens"),
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
