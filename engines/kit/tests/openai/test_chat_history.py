"""Conversations as clients keep them: what this and other providers answered is sent back, and read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2 as g
from enginehouse.kit.errors import ServiceError
from enginehouse.kit.openai import read_chat
from enginehouse.kit.openai.text._chat_output import ChatAnswer, ChatStream


def read(*messages: dict[str, Any]) -> list[g.Message]:
    return list(read_chat(json.dumps({"model": "m", "messages": messages}).encode()).generate.messages)


def said(**fields: Any) -> g.Message:
    """The assistant's message with these fields, as it was read."""
    return read({"role": "user", "content": "hi"}, {"role": "assistant", **fields})[1]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize("content", ["", [], [{"type": "text", "text": ""}]])
def test_any_message_may_be_empty(role: str, content: object) -> None:
    assert [message.content for message in read({"role": role, "content": content})] == [""]


@pytest.mark.parametrize("fields", [{"content": ""}, {"content": []}, {"content": None}, {}])
def test_a_tool_may_have_returned_nothing_and_an_assistant_said_nothing(fields: dict[str, Any]) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = read(
        {"role": "assistant", "tool_calls": [call], **fields}, {"role": "tool", "tool_call_id": "c", **fields}
    )
    assert [message.content for message in messages] == ["", ""]
    assert said(**fields).content == ""


def test_an_order_that_no_template_was_written_for_is_read() -> None:
    roles = ["assistant", "assistant", "user", "system", "user", "user", "developer"]
    assert len(read(*({"role": role, "content": "x"} for role in roles))) == len(roles)


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({"content": "yes", "refusal": None, "annotations": [], "audio": None, "function_call": None}, "yes"),
        ({"content": None, "refusal": "no"}, "no"),
        ({"content": "I", "refusal": "cannot"}, "I\ncannot"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]}, "a\nb"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                      {"type": "text", "text": "4"}]}, "4"),
        ({"content": [{"type": "output_text", "text": "4", "annotations": []}]}, "4"),
        ({"content": "4", "reasoning_content": "2+2", "reasoning": "2+2",
          "reasoning_details": [{"type": "reasoning.text", "text": "2+2"}]}, "4"),
        ({"content": "4", "provider_specific_fields": {"a": 1}, "thinking_blocks": [], "tool_calls": []}, "4"),
        ({"content": "4", "matched_stop": 7, "citations": ["x"], "parsed": {"a": 4}}, "4"),
        ({"content": None, "audio": {"id": "a", "data": "", "expires_at": 1, "transcript": "said"}}, "said"),
    ],
)  # fmt: skip
def test_what_providers_answer_is_read(fields: dict[str, Any], content: str) -> None:
    message = said(**fields)
    assert (message.content, list(message.tool_calls)) == (content, [])


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ('{"a": 1}', '{"a": 1}'), ('{"city": "Vij', '{"city": "Vij'), ("", ""), (None, ""), ("[1]", "[1]"),
        ({"city": "కాకి", "n": 1}, '{"city":"కాకి","n":1}'),
    ],
)  # fmt: skip
def test_arguments_are_kept_as_they_were_written(arguments: object, kept: str) -> None:
    message = said(
        content=None, tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}]
    )
    assert [(call.id, call.name, call.arguments) for call in message.tool_calls] == [("c", "f", kept)]


def test_the_form_before_tools_is_read_as_a_call_and_its_result() -> None:
    call, result = read(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "4"},
    )
    assert (call.tool_calls[0].name, result.role, result.content) == ("f", g.ROLE_TOOL, "4")
    assert result.tool_call_id == call.tool_calls[0].id != ""


def test_calls_without_ids_are_answered_in_their_order_and_by_name() -> None:
    calls = [{"id": "", "type": None, "function": {"name": name, "arguments": "{}"}} for name in ("f", "g", "f")]
    call, *results = read(
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "name": "g", "content": "1", "tool_call_id": ""},
        {"role": "tool", "content": "2"},
        {"role": "tool", "content": "3", "tool_call_id": None},
    )
    ids = [made.id for made in call.tool_calls]
    assert len(set(ids)) == 3
    assert [result.tool_call_id for result in results] == [ids[1], ids[0], ids[2]]
    with pytest.raises(ServiceError, match="tool_call_id"):
        read({"role": "assistant", "tool_calls": calls[:1]}, *({"role": "tool", "content": "1"} for _ in range(2)))
    with pytest.raises(ServiceError, match="'function_call'"):
        read({"role": "function", "name": "f", "content": "1"})


def delta(**fields: Any) -> g.GenerateResponse:
    return g.GenerateResponse(model="m", deltas=[g.ChoiceDelta(**fields)])


ANSWERS = {
    "text": [delta(text="it is "), delta(text="4", finish_reason=g.FINISH_REASON_STOP)],
    "nothing": [delta(finish_reason=g.FINISH_REASON_STOP)],
    "reasoning alone": [delta(reasoning="2+2", finish_reason=g.FINISH_REASON_LENGTH)],
    "a call that was cut": [
        delta(tool_calls=[g.ToolCallDelta(index=0, id="call_1", name="f", arguments='{"a')]),
        delta(tool_calls=[g.ToolCallDelta(index=0, arguments='": "b')]),
        delta(finish_reason=g.FINISH_REASON_LENGTH, stopped_by=g.STOPPED_BY_MAX_OUTPUT_TOKENS),
    ],
    "two calls after text": [
        delta(text="so: ", reasoning="hm"),
        delta(tool_calls=[g.ToolCallDelta(index=0, id="call_1", name="f", arguments="{}")]),
        delta(tool_calls=[g.ToolCallDelta(index=1, id="call_2", name="g")]),
        delta(finish_reason=g.FINISH_REASON_TOOL_CALLS),
    ],
    "log probabilities": [
        delta(text="4", logprobs=[g.TokenLogprob(token="4", logprob=-0.5)], finish_reason=g.FINISH_REASON_STOP)
    ],
}


def whole(answer: list[g.GenerateResponse]) -> dict[str, Any]:
    """The message of an answer in one piece."""
    writer = ChatAnswer(completion_id="c", created=1, logprobs=False)
    for response in answer:
        writer.add(response, first_choice=0)
    message: dict[str, Any] = json.loads(writer.end(usage_pb2.Usage()))["choices"][0]["message"]
    return message


def streamed(answer: list[g.GenerateResponse]) -> dict[str, Any]:
    """The message of a stream, its chunks put together as OpenAI's clients do: texts joined, the rest overwritten."""
    writer = ChatStream(completion_id="c", created=1, include_usage=True)
    data = b"".join(writer.add(response, first_choice=0) for response in answer) + writer.end(usage_pb2.Usage())
    message: dict[str, Any] = {}
    for line in data.decode().split("\n\n")[:-2]:
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            _join(message, choice["delta"])
    return message


def _join(into: dict[str, Any], piece: dict[str, Any]) -> None:
    for key, value in piece.items():
        if isinstance(value, list):
            entries = into.setdefault(key, [])
            for entry in value:
                known = next((held for held in entries if held["index"] == entry["index"]), None)
                if known is None:
                    entries.append(known := {})
                _join(known, entry)
        elif isinstance(value, dict):
            _join(into.setdefault(key, {}), value)
        elif isinstance(value, str) and isinstance(into.get(key), str) and key not in ("id", "type", "role"):
            into[key] += value
        else:
            into[key] = value


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_can_be_sent_back(name: str) -> None:
    for message in (whole(ANSWERS[name]), streamed(ANSWERS[name])):
        read_back = read({"role": "user", "content": "hi"}, message)[1]
        assert read_back.role == g.ROLE_ASSISTANT
        assert read_back.content == (message.get("content") or "")
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", [])]
        assert [(call.name, call.arguments) for call in read_back.tool_calls] == calls
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": ""} for call in message.get("tool_calls", [])
        ]
        assert len(read(message, *results)) == 1 + len(results)


def test_an_event_of_a_stream_has_one_tool_call_for_clients_that_read_the_first_only() -> None:
    pieces = [
        g.ToolCallDelta(index=0, id="call_1", name="f", arguments="{"),
        g.ToolCallDelta(index=0, arguments='"n'),
        g.ToolCallDelta(index=0, arguments='": 1}'),
        g.ToolCallDelta(index=1, id="call_2", name="g", arguments="{}"),
    ]
    writer = ChatStream(completion_id="c", created=1, include_usage=False)
    events = writer.add(g.GenerateResponse(model="m", deltas=[g.ChoiceDelta(tool_calls=pieces)]), first_choice=0)
    deltas = [
        json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in events.decode().split("\n\n")[:-1]
    ]
    calls = [delta["tool_calls"] for delta in deltas if "tool_calls" in delta]
    assert [len(call) for call in calls] == [1, 1]
    assert [(call[0]["id"], call[0]["function"]["arguments"]) for call in calls] == [
        ("call_1", '{"n": 1}'),
        ("call_2", "{}"),
    ]
