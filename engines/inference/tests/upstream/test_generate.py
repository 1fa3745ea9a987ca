"""Text from a provider: streams, counts, retries, failures."""

import asyncio
import json
import socket

import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.generation.events import FinishReason, OutputPiece, TokenCounts
from enginehouse.kit.errors import Reason, ServiceError
from engines.inference.tests.upstream.scripted_provider import PAUSE, answer, chunk, stream, usage

CHAT = generation_pb2.GenerateRequest(
    model="far", messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content="hi")]
)
DONE = b"data: [DONE]\n\n"


async def run(model, request=CHAT, *, most=50):
    prepared = await model.prepare(request)
    return [event async for batch in model.generate(prepared, max_output_tokens=most) for event in batch]


async def refused(model, request=CHAT):
    with pytest.raises(ServiceError) as raised:
        await run(model, request)
    assert "sk-secret" not in str(raised.value.message)
    return raised.value


async def test_stream_and_the_providers_own_count(provider, load):
    provider.answers = [stream(chunk("Hel", role="assistant"), chunk("lo"), chunk(finish="stop"), usage(9, 7, 4), DONE)]
    events = await run(await load(model="big-1"))
    pieces = [event for event in events if isinstance(event, OutputPiece)]
    assert "".join(piece.text for piece in pieces) == "Hello"
    assert pieces[-1].finish is FinishReason.STOP
    assert sum(piece.tokens for piece in pieces) == 2
    assert events[-1] == TokenCounts(9, 4, 7)
    [asked] = provider.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "bearer sk-secret"
    assert asked.body == {
        "model": "big-1",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 50,
    }


async def test_events_cut_anywhere_and_comments_are_read(provider, load):
    text = json.dumps(chunk("కాకి"), ensure_ascii=False).encode()
    whole = b": hello\r\n\r\nevent: x\r\ndata: " + text + b"\r\n\r\n" + b"data:" + text + b"\n\n"
    parts = [whole[cut : cut + 7] for cut in range(0, len(whole), 7)]
    provider.answers = [stream(*parts, chunk(finish="length"), usage(1, 2))]
    events = await run(await load())
    assert "".join(event.text for event in events if isinstance(event, OutputPiece)) == "కాకికాకి"
    assert events[-2].finish is FinishReason.LENGTH


async def test_whole_request_is_passed_on(provider, load):
    provider.answers = [stream(chunk("{}", finish="stop"), usage(1, 1))]
    schema = '{"z": 1.0, "a": {"type": "object"}}'
    request = generation_pb2.GenerateRequest(
        model="far",
        messages=[
            generation_pb2.Message(role=generation_pb2.ROLE_SYSTEM, content="rules"),
            generation_pb2.Message(
                role=generation_pb2.ROLE_ASSISTANT,
                tool_calls=[generation_pb2.ToolCall(id="c", name="look", arguments='{"a":1}')],
            ),
            generation_pb2.Message(role=generation_pb2.ROLE_TOOL, content="x", tool_call_id="c"),
        ],
        sampling=generation_pb2.Sampling(temperature=0.7, top_p=0.9, seed=3, top_k=5),
        stop=["END"],
        choices=2,
        logprobs=True,
        top_logprobs=2,
        format=generation_pb2.OutputFormat(json_schema=schema),
        tools=[generation_pb2.Tool(name="look", description="looks", parameters_json_schema=schema)],
        tool_choice=generation_pb2.ToolChoice(mode=generation_pb2.ToolChoice.MODE_NAMED, name="look"),
        parallel_tool_calls=False,
    )
    await run(await load(extensions=True, output_bound="max_completion_tokens"), request)
    body = provider.asked[0].body
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body
    assert (body["temperature"], body["top_p"], body["seed"], body["top_k"]) == (0.7, 0.9, 3, 5)
    assert (body["stop"], body["n"], body["logprobs"], body["top_logprobs"]) == (["END"], 2, True, 2)
    assert list(body["response_format"]["json_schema"]["schema"]) == ["z", "a"]
    assert list(body["tools"][0]["function"]["parameters"]) == ["z", "a"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert body["parallel_tool_calls"] is False
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"a":1}'
    assert body["messages"][2]["tool_call_id"] == "c"


async def test_completion_of_a_prompt(provider, load):
    logprobs = {"tokens": ["upon"], "token_logprobs": [-0.5], "top_logprobs": [{"at": -2, "upon": -0.5}]}
    choice = {"index": 0, "text": " upon", "logprobs": logprobs, "finish_reason": "length"}
    provider.answers = [stream({"choices": [choice]}, usage(1, 1))]
    request = generation_pb2.GenerateRequest(model="far", prompt="Once", logprobs=True, top_logprobs=2)
    [piece, _] = await run(await load(), request)
    assert (piece.text, piece.finish, piece.tokens) == (" upon", FinishReason.LENGTH, 1)
    assert [(top.token, top.logprob) for top in piece.logprobs[0].top] == [("upon", -0.5), ("at", -2)]
    assert provider.asked[0].path == "/v1/completions"
    assert (provider.asked[0].body["prompt"], provider.asked[0].body["logprobs"]) == ("Once", 2)


async def test_tool_calls_reasoning_and_logprobs(provider, load):
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a'}}
    rest = {"index": 0, "function": {"arguments": '":1}'}}
    token = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2, "bytes": None}]}
    with_logprobs = chunk("a")
    with_logprobs["choices"][0]["logprobs"] = {"content": [token, token]}
    provider.answers = [
        stream(
            chunk(reasoning_content="hm"), with_logprobs, chunk(tool_calls=[call]), chunk(tool_calls=[rest]),
            chunk(finish="tool_calls"), usage(1, 9),
        )
    ]  # fmt: skip
    pieces = [event for event in await run(await load()) if isinstance(event, OutputPiece)]
    assert pieces[0].reasoning == "hm"
    assert pieces[1].tokens == 2
    assert pieces[1].logprobs[0].bytes == b"a"
    assert pieces[1].logprobs[0].top[0].bytes == b"b"
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert [(call.id, call.name, call.arguments) for call in calls] == [("c1", "look", '{"a'), ("", "", '":1}')]
    assert pieces[-1].finish is FinishReason.TOOL_CALLS


async def test_count_before_the_providers_never_passes_the_bound(provider, load):
    provider.answers = [stream(*[chunk("x" * 100)] * 9, chunk(finish="length"), usage(1, 20))]
    events = await run(await load(), most=20)
    assert sum(event.tokens for event in events if isinstance(event, OutputPiece)) == 20


async def test_no_usage_is_an_error_or_an_estimate_as_told(provider, load):
    provider.answers = [stream(chunk("a" * 40), chunk(finish="stop"), DONE)] * 2
    error = await refused(await load())
    assert error.reason is Reason.UPSTREAM_FAILED
    assert "usage: estimate" in error.message
    events = await run(await load(usage="estimate"))
    assert events[-1].output_tokens == 10
    assert 0 < events[-1].input_tokens < 20


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_passing_failures_are_tried_again(provider, load, status):
    good = stream(chunk("ok", finish="stop"), usage(1, 1))
    provider.answers = [answer(status, {"error": {"message": "later"}}), answer(status, b"<html>"), good]
    assert (await run(await load()))[0].text == "ok"
    assert len(provider.asked) == 3


async def test_lost_connections_and_early_ends_are_tried_again(provider, load):
    provider.answers = [
        [],
        stream(chunk("", role="assistant")),
        stream({"error": {"message": "overloaded"}}),
        stream(chunk("ok", finish="stop"), usage(1, 1)),
    ]
    assert (await run(await load()))[0].text == "ok"
    assert len(provider.asked) == 4


async def test_retry_after_is_honoured_and_bounded(provider, load):
    provider.answers = [answer(429, {}, retry_after="0.2"), stream(chunk("ok", finish="stop"), usage(1, 1))]
    started = asyncio.get_running_loop().time()
    await run(await load())
    assert asyncio.get_running_loop().time() - started >= 0.2
    provider.answers = [answer(429, {"error": {"message": "slow down"}}, retry_after="3600")]
    error = await refused(await load())
    assert (error.reason, error.retry_after_s) == (Reason.UPSTREAM_RATE_LIMITED, 3600)
    assert "slow down" in error.message


async def test_retries_end(provider, load):
    provider.answers = [answer(503, {"error": {"message": "down"}})] * 3
    error = await refused(await load(retries=2))
    assert error.reason is Reason.UPSTREAM_FAILED
    assert "HTTP 503" in error.message
    assert provider.answers == []


async def test_nothing_is_tried_again_after_the_first_token(provider, load):
    provider.answers = [stream(chunk("half"))]
    model = await load()
    prepared = await model.prepare(CHAT)
    batches = model.generate(prepared, max_output_tokens=9)
    assert (await anext(batches))[0].text == "half"
    with pytest.raises(ServiceError) as raised:
        await anext(batches)
    assert raised.value.reason is Reason.UPSTREAM_FAILED
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (400, {"message": "bad top_p", "param": "top_p"}, Reason.INVALID_REQUEST),
        (422, {"message": "bad"}, Reason.INVALID_REQUEST),
        (400, {"message": "too long", "code": "context_length_exceeded"}, Reason.CONTEXT_LENGTH_EXCEEDED),
        (400, {"message": "bad", "code": "invalid_schema"}, Reason.INVALID_SCHEMA),
        (401, {"message": "Incorrect API key: sk-secret"}, Reason.UPSTREAM_FAILED),
        (403, {"message": "sk-se***et may not"}, Reason.UPSTREAM_FAILED),
        (404, {"message": "no model big-1 for sk-secret"}, Reason.UPSTREAM_FAILED),
        (413, {"message": "too large"}, Reason.REQUEST_TOO_LARGE),
        (429, {"message": "no credit", "code": "insufficient_quota"}, Reason.UPSTREAM_RATE_LIMITED),
        (302, {}, Reason.UPSTREAM_FAILED),
    ],
)
async def test_final_refusals_are_not_tried_again(provider, load, status, error, reason):
    provider.answers = [answer(status, {"error": error})]
    got = await refused(await load())
    assert got.reason is reason
    assert "sk-se" not in got.message
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "bad",
    [
        answer(200, {"choices": []}),
        stream(b"data: {not json\n\n"),
        stream(b"data: []\n\n"),
        stream(b'data: {"choices": 5}\n\n'),
        stream(b'data: {"choices": ["x"]}\n\n'),
        stream(chunk("a", finish="stop"), {"choices": [], "usage": {"prompt_tokens": "x", "completion_tokens": 1}}),
    ],
)
async def test_answers_that_are_not_openais(provider, load, bad):
    provider.answers = [bad]
    assert (await refused(await load())).reason is Reason.UPSTREAM_FAILED


async def test_silence_ends_in_a_failure(provider, load):
    provider.answers = [stream(PAUSE)]
    error = await refused(await load(silence_timeout_s=0.05, retries=0))
    assert error.reason is Reason.UPSTREAM_FAILED
    assert "went silent" in error.message


async def test_provider_that_is_not_there(provider, load):
    with socket.socket() as taken:
        # Bound but not listening: nobody else can answer on this port meanwhile.
        taken.bind(("127.0.0.1", 0))
        provider.url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        error = await refused(await load(retries=1))
    assert error.reason is Reason.UPSTREAM_FAILED
    assert "connection to the provider at 127.0.0.1 failed" in error.message


async def test_closing_the_generator_hangs_up_on_the_provider(provider, load):
    provider.answers = [stream(chunk("a"), PAUSE)]
    model = await load()
    batches = model.generate(await model.prepare(CHAT), max_output_tokens=9)
    await anext(batches)
    await batches.aclose()
    async with asyncio.timeout(5):
        await provider.gone.wait()


async def test_extensions_need_a_provider_that_takes_them(load):
    request = generation_pb2.GenerateRequest(model="far", prompt="x")
    request.sampling.top_k = 3
    error = await refused(await load(), request)
    assert error.reason is Reason.UNSUPPORTED_CAPABILITY
    assert error.violations[0].field == "sampling.top_k"


async def test_schema_that_is_not_json(load):
    request = generation_pb2.GenerateRequest(model="far", prompt="x")
    request.format.json_schema = "{oops"
    assert (await refused(await load(), request)).reason is Reason.INVALID_SCHEMA


async def test_prompt_bound_is_above_what_a_tokenizer_can_make_of_it(load):
    request = generation_pb2.GenerateRequest(model="far", prompt="కాకి")
    assert (await (await load()).prepare(request)).input_tokens >= len("కాకి".encode())


async def test_what_only_a_tokenizer_here_can_do_is_refused_by_the_backends_name(provider, load):
    for fields, field in (
        ({"prompt": "x", "prompt_only": True}, "prompt_only"),
        ({"prompt": "x", "echo": True, "logprobs": True}, "echo"),
        ({"prompt_token_ids": [1], "echo": True}, "echo"),
    ):
        with pytest.raises(ServiceError) as refused:
            await run(await load(), generation_pb2.GenerateRequest(model="far", **fields))
        assert refused.value.reason is Reason.UNSUPPORTED_CAPABILITY
        assert refused.value.violations[0].field == field
        assert "provider" in refused.value.message or "upstream" in refused.value.message
    assert not provider.asked


async def test_tokens_and_biases_are_sent_as_they_are(provider, load):
    choice = {"index": 0, "text": " upon", "finish_reason": "length"}
    provider.answers = [stream({"choices": [choice]}, usage(1, 1))]
    request = generation_pb2.GenerateRequest(model="far", prompt_token_ids=[5, 6])
    request.sampling.logit_bias.add(token_id=7, bias=-0.1)
    await run(await load(), request)
    assert provider.asked[0].body["prompt"] == [5, 6]
    assert provider.asked[0].body["logit_bias"] == {"7": -0.1}
