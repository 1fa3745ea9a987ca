"""Errors as OpenAI's API words them."""

import base64
import json

import pytest

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.openai import error_event, error_metadata, openai_error, with_edge_names


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_body(reason):
    status, body = openai_error(ServiceError(reason, "Why."))
    error = json.loads(body)["error"]
    assert 400 <= status < 600
    assert error["message"] == "Why."
    assert error["type"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.KEY_INVALID, 401, "invalid_api_key"),
        (Reason.UNKNOWN_MODEL, 404, "model_not_found"),
        (Reason.CONTEXT_LENGTH_EXCEEDED, 400, "context_length_exceeded"),
        (Reason.BUDGET_EXHAUSTED, 429, "insufficient_quota"),
        (Reason.RATE_LIMITED, 429, "rate_limit_exceeded"),
        (Reason.REQUEST_TOO_LARGE, 413, "request_too_large"),
        (Reason.NO_ENDPOINT, 503, "no_endpoint"),
    ],
)
def test_openais_own_words(reason, status, code):
    got, body = openai_error(ServiceError(reason, "Why."))
    assert (got, json.loads(body)["error"]["code"]) == (status, code)


def test_metadata_carries_the_status_and_the_body():
    error = ServiceError(Reason.INVALID_REQUEST, "కాకి", violations=[FieldViolation("n", "bad")])
    key, value = error_metadata(error)
    status, _, encoded = value.partition(";")
    assert key == "x-enginehouse-openai-error"
    assert value.isascii()
    assert (int(status), base64.urlsafe_b64decode(encoded)) == openai_error(error)
    assert json.loads(base64.urlsafe_b64decode(encoded))["error"]["param"] == "n"


def test_long_messages_fit_into_headers():
    error = ServiceError(Reason.INVALID_REQUEST, "\x00" * 100_000)
    assert len(error_metadata(error)[1]) < 8192


def test_event_ends_the_stream_for_clients():
    event = error_event(ServiceError(Reason.BACKEND_FAILED, "Why."))
    assert event.startswith(b'data: {"error":')
    assert event.endswith(b"\n\n")


@pytest.mark.parametrize(
    ("ours", "sent", "theirs"),
    [
        ("sampling.top_p", b"{}", "top_p"),
        ("max_output_tokens", b'{"max_completion_tokens": 1}', "max_completion_tokens"),
        ("max_output_tokens", b'{"max_tokens": 1}', "max_tokens"),
        ("choices", b"{}", "n"),
        ("tools[0].parameters_json_schema", b"{}", "tools[0].function.parameters"),
        ("tools[2].name", b"{}", "tools[2].function.name"),
        ("messages[3].tool_calls[1].arguments", b"{}", "messages[3].tool_calls[1].function.arguments"),
        ("messages[2].content[0].text", b"{}", "messages[2].content[0].text"),
        ("tool_choice.name", b"{}", "tool_choice.function.name"),
        ("format.json_schema", b"{}", "response_format.json_schema.schema"),
        ("inputs[1]", b'{"input": ["a", "b"]}', "input[1]"),
        ("inputs[0]", b'{"input": "a"}', "input"),
        ("controls.voice", b"not JSON", "voice"),
        ("audio.encoding", b"[]", "response_format"),
    ],
)
def test_param_and_message_have_the_clients_own_names(ours, sent, theirs):
    error = ServiceError(Reason.INVALID_REQUEST, f"{ours}: is wrong", violations=[FieldViolation(ours, "is wrong")])
    told = json.loads(openai_error(with_edge_names(error, sent))[1])["error"]
    assert (told["param"], told["message"], told["code"]) == (theirs, f"{theirs}: is wrong", "invalid_value")


@pytest.mark.parametrize("name", ["messages", "prompt", "input"])
def test_what_is_too_long_is_named(name):
    error = ServiceError(Reason.CONTEXT_LENGTH_EXCEEDED, "too long")
    told = json.loads(openai_error(with_edge_names(error, b'{"%s": "x"}' % name.encode()))[1])["error"]
    assert (told["param"], told["code"]) == (name, "context_length_exceeded")
