"""Answers, embeddings and tokens, over a real connection."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

import grpc
import pytest

from clients.python.tests.harness.behaviours import respond
from clients.python.tests.harness.drivers import Connect
from clients.python.tests.harness.responses import story
from clients.python.tests.harness.server import ScriptedServer
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.client import Message, Tool, ToolCall
from enginehouse.client.requests.generation import GenerationOptions, GenerationRequest


async def test_an_answer_is_built_from_its_stream(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(*story()), respond(*story())]
    mesh = connect(server.url)
    answer = await mesh.generate("Tell me of a crow")
    assert answer.text == "A clever crow"
    assert answer.model == "tiny"
    assert answer.request_id == "req_server"
    assert (answer.finish_reason, answer.stopped_by) == ("length", "budget")
    assert answer.usage == {"input_tokens": 5, "output_tokens": 2}
    assert answer.cost_nanos == 123
    assert (answer.time_to_first_token_ms, answer.total_ms) == (7, 9)
    assert answer.complete
    assert await mesh.texts("Tell me of a crow") == ["A clever ", "crow"]


async def test_the_key_and_one_request_id_are_sent(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(*story())] * 2
    mesh = connect(server.url)
    await mesh.generate("x")
    await mesh.generate("x", request_id="mine-1")
    for request, metadata in zip(server.requests, server.metadata, strict=True):
        assert metadata["authorization"] == "Bearer eh_test_key"
        assert metadata["x-enginehouse-request-id"] == request.request_id
    assert server.requests[0].request_id.startswith("req_")
    assert server.requests[1].request_id == "mine-1"


async def test_task_subject_and_language_are_sent_as_headers(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(*story())] * 2
    mesh = connect(server.url)
    await mesh.generate("x", task="enhance", subject="maths", language="te")
    await mesh.generate("x")
    names = ("x-enginehouse-task", "x-enginehouse-subject", "x-enginehouse-language")
    assert [[metadata.get(name) for name in names] for metadata in server.metadata] == [
        ["enhance", "maths", "te"],
        [None, None, None],
    ]


async def test_every_option_reaches_its_field(server: ScriptedServer, connect: Connect) -> None:
    server.script = [respond(*story())]
    await connect(server.url).generate(
        [Message("user", "hi"), Message("assistant", tool_calls=(ToolCall("c1", "look", "{}"),))],
        system="be brief",
        model="tiny",
        max_output_tokens=7,
        temperature=0.5,
        top_p=0.25,
        top_k=3,
        min_p=0.125,
        frequency_penalty=1.5,
        presence_penalty=-1.5,
        repeat_penalty=1.25,
        seed=9,
        stop=["END"],
        json_schema={"type": "object"},
        tools=[Tool("look", "looks", {"type": "object"})],
        tool_choice="look",
        parallel_tool_calls=False,
        choices=2,
        logprobs=True,
        top_logprobs=4,
    )
    sent = server.requests[0]
    assert [(message.role, message.content) for message in sent.messages] == [
        (generation_pb2.ROLE_SYSTEM, "be brief"),
        (generation_pb2.ROLE_USER, "hi"),
        (generation_pb2.ROLE_ASSISTANT, ""),
    ]
    assert sent.messages[2].tool_calls[0].name == "look"
    assert (sent.model, sent.max_output_tokens, sent.choices, list(sent.stop)) == ("tiny", 7, 2, ["END"])
    sampling = sent.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.5, 0.25, 3, 0.125)
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (1.5, -1.5)
    assert (sampling.repeat_penalty, sampling.seed) == (1.25, 9)
    assert json.loads(sent.format.json_schema) == {"type": "object"}
    assert json.loads(sent.tools[0].parameters_json_schema) == {"type": "object"}
    assert (sent.tool_choice.mode, sent.tool_choice.name) == (generation_pb2.ToolChoice.MODE_NAMED, "look")
    assert sent.HasField("parallel_tool_calls")
    assert not sent.parallel_tool_calls
    assert sent.logprobs
    assert sent.top_logprobs == 4


async def test_deltas_of_tool_calls_are_joined(server: ScriptedServer, connect: Connect) -> None:
    def delta(**fields: Any) -> generation_pb2.GenerateResponse:
        call = generation_pb2.ToolCallDelta(**fields)
        return generation_pb2.GenerateResponse(deltas=[generation_pb2.ChoiceDelta(tool_calls=[call])])

    server.script = [
        respond(
            delta(index=0, id="a", name="look", arguments='{"at":'),
            delta(index=1, id="b", name="listen", arguments="{}"),
            delta(index=0, arguments=' "sky"}'),
        )
    ]
    answer = await connect(server.url).generate("x")
    assert answer.tool_calls == (ToolCall("a", "look", '{"at": "sky"}'), ToolCall("b", "listen", "{}"))
    assert not answer.complete


async def test_leaving_a_stream_cancels_the_request(server: ScriptedServer, connect: Connect) -> None:
    def endless(request: Any, context: grpc.ServicerContext) -> Any:
        yield story()[0]
        assert server.ended.wait(10)

    server.script = [endless]
    assert await connect(server.url).first_text("x") == "A clever "
    await server.wait_until_ended()


async def test_embeddings_tokens_and_models(server: ScriptedServer, connect: Connect) -> None:
    response = generation_pb2.EmbedResponse(request_id="r", model="m", embeddings=[{"values": [0.5, 0.25]}])
    response.usage.cost_nanos = 4
    server.script = [
        respond(response),
        respond(generation_pb2.TokenizeResponse(token_ids=[3, 1])),
        respond(generation_pb2.ListModelsResponse(models=[{"name": "a"}], next_page_token="more")),
        respond(generation_pb2.ListModelsResponse(models=[{"name": "b"}])),
    ]
    mesh = connect(server.url)
    embeddings = await mesh.call("embed", "one", dimensions=2)
    assert (embeddings.vectors, embeddings.cost_nanos, embeddings.model) == (((0.5, 0.25),), 4, "m")
    assert list(server.requests[0].inputs) == ["one"]
    assert await mesh.call("tokenize", "one", model="m") == [3, 1]
    assert [model.name for model in await mesh.call("models")] == ["a", "b"]
    assert server.requests[3].page_token == "more"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of messages"),
        ({"messages": "x", "prompt": "y"}, "exactly one of messages"),
        ({"prompt": "y", "system": "z"}, "system cannot be combined with prompt"),
        ({"messages": "x", "json_object": True, "grammar": "root ::= 'a'"}, "at most one"),
        ({"messages": [Message("robot", "x")]}, "unknown role 'robot': expected one of"),  # type: ignore[arg-type]
    ],
)
async def test_contradicting_arguments_are_refused_before_sending(
    server: ScriptedServer, connect: Connect, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await connect(server.url).generate(**arguments)
    assert server.requests == []


def test_every_option_is_a_field_of_the_request() -> None:
    assert set(get_type_hints(GenerationOptions)) == {field.name for field in dataclasses.fields(GenerationRequest)} - {
        "messages"
    }
