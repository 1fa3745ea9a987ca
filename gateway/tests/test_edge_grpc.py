"""The public listener as gRPC and gRPC-web clients see it, with Envoy itself."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.kit.errors import Reason, from_status

TOKENIZE = "/enginehouse.api.inference.v1.GenerationService/Tokenize"
GENERATION = "enginehouse.api.inference.v1.GenerationService"


@pytest.fixture
def channel(served: Any) -> Any:
    with grpc.insecure_channel(served.target, options=[("grpc.max_send_message_length", -1)]) as opened:
        yield opened


def tokenize(channel: Any, key: str, text: str = "x") -> Any:
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    request = generation_pb2.TokenizeRequest(text=text)
    return stub.Tokenize(request, metadata=[("authorization", f"Bearer {key}")], timeout=10)


def refusal(channel: Any, key: str, text: str = "x") -> tuple[grpc.StatusCode, str, Reason]:
    """The code, the message and the reason, which the trailers and the details must agree on."""
    with pytest.raises(grpc.RpcError) as caught:
        tokenize(channel, key, text)
    status = rpc_status.from_call(caught.value)  # Raises where code or message differ between the two.
    error = from_status(status)
    assert error is not None
    return caught.value.code(), caught.value.details(), error.reason


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.RATE_LIMITED, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Reason.KEY_INVALID, grpc.StatusCode.UNAUTHENTICATED),
        (Reason.NO_ENDPOINT, grpc.StatusCode.UNAVAILABLE),
        (Reason.INTERNAL, grpc.StatusCode.INTERNAL),
    ],
)
def test_a_refusal_is_a_status_with_details(channel: Any, reason: Reason, code: grpc.StatusCode) -> None:
    assert refusal(channel, f"deny-{reason}") == (code, 'refused: 100 % "sure", ü', reason)


def test_calls_and_streams(served: Any, channel: Any) -> None:
    assert tokenize(channel, "ok").token_ids == [served.engines[0].pid]
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    ok = [("authorization", "Bearer ok")]
    stream = stub.Generate(generation_pb2.GenerateRequest(prompt="stream:4"), metadata=ok)
    assert [message.deltas[0].text for message in stream] == ["0 ", "1 ", "2 ", "3 "]
    assert dict(stream.initial_metadata())["x-enginehouse-model"] == "tiny"


def test_a_native_openai_call_keeps_its_grpc_status(channel: Any) -> None:
    from google.api import httpbody_pb2

    stub = text_pb2_grpc.TextServiceStub(channel)
    with pytest.raises(grpc.RpcError) as caught:
        list(
            stub.CreateChatCompletion(
                httpbody_pb2.HttpBody(data=b'{"mode": "fail"}'), metadata=[("authorization", "Bearer ok")]
            )
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_large_messages_have_a_typed_error(channel: Any) -> None:
    code, message, reason = refusal(channel, "ok", "x" * (8 << 20))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, Reason.REQUEST_TOO_LARGE)
    assert "4194304 bytes" in message
    assert tokenize(channel, "ok", "x" * 4_000_000).token_ids


@pytest.mark.parametrize(
    "method",
    [
        "/no.Such/Method",
        "/enginehouse.api.router.v1.UsageService/Report",
        "/enginehouse.api.router.v1.UsageService/Extend",
        "/envoy.x.v3.Y/Z",
    ],
)
def test_unknown_and_internal_methods_are_unimplemented(channel: Any, method: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(b"", metadata=[("authorization", "Bearer ok")], timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    error = from_status(rpc_status.from_call(caught.value))
    assert error is not None
    assert error.reason is Reason.UNKNOWN_METHOD


def frame(message: Any) -> bytes:
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def test_grpc_web(served: Any) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "origin": "https://page.example"}
    body = frame(generation_pb2.TokenizeRequest(text="x"))
    answer = served.client.post(TOKENIZE, content=body, headers={**headers, "authorization": "Bearer ok"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    size = int.from_bytes(answer.content[1:5], "big")
    got = generation_pb2.TokenizeResponse.FromString(answer.content[5 : 5 + size])
    assert got.token_ids == [served.engines[0].pid]
    assert b"grpc-status:0" in answer.content[5 + size :]
    refused = served.client.post(
        TOKENIZE, content=body, headers={**headers, "authorization": "Bearer deny-RATE_LIMITED"}
    )
    assert refused.headers["grpc-status"] == "8"
    assert refused.headers["grpc-message"] == 'refused: 100 %25 "sure", %C3%BC'


def test_reflection_lists_what_lives_and_describes_it(channel: Any) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    names = set(database.get_services())
    assert {GENERATION, "enginehouse.api.openai.v1.TextService", "grpc.health.v1.Health"} <= names
    assert not [name for name in names if "UsageService" in name or "Registry" in name]
    for symbol in (GENERATION, f"{GENERATION}.Generate", "enginehouse.api.inference.v1.FINISH_REASON_STOP"):
        file = database.FindFileContainingSymbol(symbol)
        assert [service.name for service in file.service] == ["GenerationService"]
    for name in names:
        assert database.FindFileContainingSymbol(name).service


def test_what_errors_carry_is_described(channel: Any) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    for name in ("google.rpc.Status", "google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"):
        assert database.FindFileContainingSymbol(name).package == "google.rpc"


def test_health_of_services(channel: Any) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    assert stub.Check(health_pb2.HealthCheckRequest(service=GENERATION), timeout=10).status == serving
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == serving


def test_trace_context_passes_when_no_collector_is_configured(channel: Any) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    metadata = [("authorization", "Bearer ok"), ("traceparent", parent)]
    [answer] = stub.Generate(generation_pb2.GenerateRequest(prompt="metadata"), metadata=metadata)
    assert json.loads(answer.deltas[0].text)["traceparent"] == parent
