"""Chat completions as OpenAI's own client sends and reads them."""

import asyncio
import json

import openai
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.kit.errors import Reason, ServiceError

CAT = [{"role": "user", "content": "A cat?"}]


async def test_answer_is_read_by_the_client(bench, say, summary):
    bench.engine.scripts = [[say("Mi"), say("aow", finish_reason=1), summary(fresh=7, cached=4, output=2, cost=11)]]
    answer = await bench.client.chat.completions.create(model="auto", messages=CAT)
    assert answer.id == "chatcmpl-req-1"
    assert answer.object == "chat.completion"
    assert answer.model == "tiny"
    assert answer.choices[0].message.content == "Miaow"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs is None
    assert answer.usage.prompt_tokens == 11
    assert answer.usage.completion_tokens == 2
    assert answer.usage.total_tokens == 13
    assert answer.usage.prompt_tokens_details.cached_tokens == 4
    assert answer.usage.cost_nanos == 11
    assert [message.content_type for message in bench.edge.messages] == ["application/json"]


async def test_stream_is_read_by_the_client(bench, say, summary):
    bench.engine.scripts = [[say("Mi"), say("aow"), say(finish_reason=1), summary()]]
    stream = await bench.client.chat.completions.create(model="tiny", messages=CAT, stream=True)
    chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Mi", "aow", None]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert all(chunk.usage is None and chunk.id == "chatcmpl-req-1" and chunk.model == "tiny" for chunk in chunks)
    assert bench.edge.messages[0].content_type == "text/event-stream"
    assert bench.edge.messages[-1].data.endswith(b"data: [DONE]\n\n")
    assert b'"usage"' not in b"".join(message.data for message in bench.edge.messages)


async def test_usage_event_comes_last_when_asked_for(bench, say, summary):
    bench.engine.scripts = [[say("a"), say(finish_reason=1), summary(fresh=5, output=1, cost=3)]]
    stream = await bench.client.chat.completions.create(
        model="tiny", messages=CAT, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 6
    assert chunks[-1].usage.cost_nanos == 3
    events = b"".join(message.data for message in bench.edge.messages).split(b"\n\n")
    assert [json.loads(event[6:])["usage"] for event in events[:-3]] == [None] * (len(chunks) - 1)


async def test_what_the_engine_coalesced_stays_in_one_message(bench, summary):
    both = generation_pb2.GenerateResponse(model="tiny")
    both.deltas.add(index=0, text="one two three")
    both.deltas.add(index=1, text="un deux trois", finish_reason=1)
    bench.engine.scripts = [[both, summary()]]
    stream = await bench.client.chat.completions.create(model="tiny", messages=CAT, n=2, stream=True)
    texts = {0: "", 1: ""}
    async for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == {0: "one two three", 1: "un deux trois"}
    assert len(bench.edge.messages) == 2
    assert bench.engine.asked[0].choices == 2


async def test_text_survives_byte_for_byte(bench, say, summary):
    text = 'కాకి "quoted" \\ \n\t\u2028 \U0001f426 \x00\x1f</script>'
    bench.engine.scripts = [[say(text), say(finish_reason=1), summary()]] * 2
    stream = await bench.client.chat.completions.create(model="tiny", messages=CAT, stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == text
    answer = await bench.client.chat.completions.create(model="tiny", messages=CAT)
    assert answer.choices[0].message.content == text


async def test_tool_calls_in_pieces(bench, summary):
    def piece(**fields):
        delta = generation_pb2.ChoiceDelta(tool_calls=[generation_pb2.ToolCallDelta(**fields)])
        return generation_pb2.GenerateResponse(model="tiny", deltas=[delta])

    end = generation_pb2.GenerateResponse(deltas=[generation_pb2.ChoiceDelta(finish_reason=3)])
    script = [
        piece(index=0, id="call_a", name="weather", arguments='{"ci'),
        piece(index=0, arguments='ty": "Pune"}'),
        piece(index=1, id="call_b", name="clock", arguments="{}"),
        end,
        summary(),
    ]
    bench.engine.scripts = [script, script]
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("weather", "clock")]
    answer = await bench.client.chat.completions.create(model="tiny", messages=CAT, tools=tools)
    calls = answer.choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        ("call_a", "weather", '{"city": "Pune"}'),
        ("call_b", "clock", "{}"),
    ]
    assert answer.choices[0].message.content is None
    assert answer.choices[0].finish_reason == "tool_calls"
    async with bench.client.chat.completions.stream(model="tiny", messages=CAT, tools=tools) as stream:
        final = await stream.get_final_completion()
    assert [call.function.arguments for call in final.choices[0].message.tool_calls] == ['{"city": "Pune"}', "{}"]
    first = json.loads(
        b"".join(message.data for message in bench.edge.messages).partition(b"data: ")[2].partition(b"\n")[0]
    )
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None, "refusal": None}


async def test_a_choice_opens_by_what_it_begins_with(bench, say, summary):
    call = generation_pb2.ChoiceDelta(tool_calls=[generation_pb2.ToolCallDelta(id="c", name="clock", arguments="{}")])
    called = generation_pb2.GenerateResponse(deltas=[call])
    # The engine holds text back until it knows whether it is a call: such a message has nothing to say yet.
    nothing = generation_pb2.GenerateResponse(model="tiny", deltas=[generation_pb2.ChoiceDelta(token_count=2)])
    for script, content in (([nothing, called], None), ([nothing, say("Hm. "), called], ""), ([nothing], "")):
        bench.engine.scripts.append([*script, say(finish_reason=3), summary()])
        stream = await bench.client.chat.completions.create(model="tiny", messages=CAT, stream=True)
        chunks = [chunk async for chunk in stream]
        assert chunks[0].choices[0].delta.content == content
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].delta.role for chunk in chunks[1:]] == [None] * (len(chunks) - 1)


async def test_logprobs(bench, say, summary):
    top = [generation_pb2.TokenLogprob(token="dog", bytes=b"dog", logprob=float("-inf"))]
    entry = generation_pb2.TokenLogprob(token="cat", bytes=b"cat", logprob=-0.5, top=top)
    bench.engine.scripts = [[say("cat", logprobs=[entry], finish_reason=1), summary()]] * 2
    asked = {"model": "tiny", "messages": CAT, "logprobs": True, "top_logprobs": 1}
    answer = await bench.client.chat.completions.create(**asked)
    [token] = answer.choices[0].logprobs.content
    assert (token.token, token.logprob, token.bytes) == ("cat", -0.5, [99, 97, 116])
    assert (token.top_logprobs[0].token, token.top_logprobs[0].logprob) == ("dog", -9999.0)
    stream = await bench.client.chat.completions.create(**asked, stream=True)
    streamed = [chunk.choices[0].logprobs async for chunk in stream]
    assert [logprobs.content[0].token for logprobs in streamed if logprobs] == ["cat"]
    assert bench.engine.asked[0].logprobs
    assert bench.engine.asked[0].top_logprobs == 1


async def test_budget_stop_is_told_apart(bench, say, summary):
    capped = say("half", finish_reason=2, stopped_by=3)
    bench.engine.scripts = [
        [capped, summary()],
        [capped, summary()],
        [say("x", finish_reason=2, stopped_by=1), summary()],
    ]
    answer = await bench.client.chat.completions.create(model="tiny", messages=CAT)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].stopped_by == "budget"
    stream = await bench.client.chat.completions.create(model="tiny", messages=CAT, stream=True)
    last = [chunk async for chunk in stream][-1]
    assert (last.choices[0].finish_reason, last.choices[0].stopped_by) == ("length", "budget")
    answer = await bench.client.chat.completions.create(model="tiny", messages=CAT)
    assert answer.choices[0].finish_reason == "length"
    assert not hasattr(answer.choices[0], "stopped_by")


async def test_reasoning_is_kept_apart(bench, say, summary):
    bench.engine.scripts = [[say(reasoning="hm"), say("yes", finish_reason=1), summary()]]
    answer = await bench.client.chat.completions.create(model="tiny", messages=CAT)
    assert answer.choices[0].message.reasoning_content == "hm"
    assert answer.choices[0].message.content == "yes"


async def test_failure_before_the_first_message_is_openais_error(bench):
    bench.engine.scripts = [[ServiceError(Reason.UNKNOWN_MODEL, "No model 'x'; known: tiny.")]]
    with pytest.raises(openai.NotFoundError) as raised:
        await bench.client.chat.completions.create(model="x", messages=CAT, stream=True)
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"
    assert "known: tiny" in raised.value.message
    assert bench.engine.closed.is_set()


async def test_failure_in_the_middle_of_a_stream_raises_at_the_client(bench, say):
    bench.engine.scripts = [[say("half"), ServiceError(Reason.BACKEND_FAILED, "The model runtime failed.")]]
    stream = await bench.client.chat.completions.create(model="tiny", messages=CAT, stream=True)
    texts = [(await anext(stream)).choices[0].delta.content for _ in range(2)]
    assert texts == ["", "half"]
    with pytest.raises(openai.APIError, match="runtime failed"):
        await anext(stream)
    assert bench.edge.status.name == "INTERNAL"


async def test_failed_call_keeps_its_status_details_and_its_cost(bench):
    error = ServiceError(Reason.ENGINE_BUSY, "The queue is full.", retry_after_s=2)
    bench.engine.scripts = [[error]]
    with pytest.raises(openai.RateLimitError, match="queue is full"):
        await bench.client.chat.completions.create(model="tiny", messages=CAT)
    assert bench.edge.status.name == "RESOURCE_EXHAUSTED"
    assert {"grpc-status-details-bin", "x-enginehouse-cost-nanos"} <= bench.edge.trailers.keys()
    assert bench.edge.trailers["retry-after"] == "2"


async def test_defect_is_an_internal_error_without_its_text(bench, caplog):
    bench.engine.scripts = [[RuntimeError("pointer 0xdead")]]
    with pytest.raises(openai.InternalServerError) as raised:
        await bench.client.chat.completions.create(model="tiny", messages=CAT)
    assert "0xdead" not in str(raised.value)
    assert bench.edge.status.name == "INTERNAL"
    assert "0xdead" in caplog.text


async def test_engine_without_a_summary_is_a_failure(bench, say):
    bench.engine.scripts = [[say("half", finish_reason=1)]]
    with pytest.raises(openai.InternalServerError):
        await bench.client.chat.completions.create(model="tiny", messages=CAT)


async def test_cancel_closes_the_engine(bench, say, summary):
    bench.engine.scripts = [[say("a")] * 5000 + [summary()]]
    body = json.dumps({"model": "tiny", "messages": CAT, "stream": True}).encode()
    call = bench.edge.call("CreateChatCompletion", body)
    await call.read()
    call.cancel()
    async with asyncio.timeout(5):
        await bench.engine.closed.wait()
