"""Plain gRPC and gRPC-web against the mesh."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import AsyncIterator

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from enginehouse.api.router.v1 import admin_pb2, admin_pb2_grpc, usage_pb2_grpc
from tests.mesh import Mesh

MODEL = "enginehouse-tiny"
GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"


@pytest.fixture
async def channel(mesh: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mesh.target) as connected:
        yield connected


def credentials(mesh: Mesh) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {mesh.key}"),)


def ask(text: str, *, tokens: int = 16, model: str = MODEL) -> generation_pb2.GenerateRequest:
    return generation_pb2.GenerateRequest(
        model=model,
        messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content=text)],
        max_output_tokens=tokens,
    )


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in the error's one ErrorInfo."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    infos = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            infos.append(info)
    assert len(infos) == 1
    assert infos[0].domain == "enginehouse"
    return str(infos[0].reason)


async def test_generate_streams_and_ends_with_the_cost(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    call = stub.Generate(ask("Tell me a story"), metadata=credentials(mesh))
    messages = [message async for message in call]
    assert messages[0].request_id
    assert messages[0].model == MODEL
    summary = messages[-1].summary
    assert summary.usage.cost_nanos > 0
    assert "".join(delta.text for message in messages for delta in message.deltas)
    headers = dict(await call.initial_metadata())
    trailers = dict(await call.trailing_metadata())
    assert headers["x-enginehouse-model"] == MODEL
    assert headers["x-enginehouse-request-id"] == messages[0].request_id
    assert int(trailers["x-enginehouse-cost-nanos"]) == summary.usage.cost_nanos
    assert "x-enginehouse-grant" not in headers


async def test_cost_of_the_streams_is_the_spend_to_the_nano(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    key_id, key = mesh.create_key("exact", budget_nanos=10_000_000_000)
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    total = 0
    for number in range(5):
        async for message in stub.Generate(ask(f"Story {number}"), metadata=(("authorization", f"Bearer {key}"),)):
            total += message.summary.usage.cost_nanos
    deadline = time.monotonic() + 10
    while mesh.spend(key_id) != total and time.monotonic() < deadline:
        time.sleep(0.1)
    assert mesh.spend(key_id) == total > 0


async def test_a_client_cannot_bring_a_grant_or_an_endpoint_of_its_own(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    spoofed = (
        *credentials(mesh),
        ("x-enginehouse-grant", "v1.k.AAAA.AAAA"),
        ("x-gateway-destination-endpoint", "127.0.0.1:1"),
    )
    messages = [message async for message in stub.Generate(ask("hello", tokens=2), metadata=spoofed)]
    assert messages[-1].summary.usage.cost_nanos > 0


@pytest.mark.parametrize(
    ("request_", "metadata", "code", "why"),
    [
        (ask("x"), (), grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING"),
        (ask("x"), (("authorization", "Bearer eh_nobody"),), grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID"),
        (ask("x", model="nothing"), None, grpc.StatusCode.NOT_FOUND, "UNKNOWN_MODEL"),
        (ask("x", tokens=-1), None, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (generation_pb2.GenerateRequest(model=MODEL), None, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        (ask("crow " * 4000), None, grpc.StatusCode.INVALID_ARGUMENT, "CONTEXT_LENGTH_EXCEEDED"),
        (
            generation_pb2.GenerateRequest(
                model=MODEL,
                prompt="x",
                format=generation_pb2.OutputFormat(json_schema='{"type": "nonsense"}'),
            ),
            None,
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_SCHEMA",
        ),
    ],
    ids=["no key", "wrong key", "unknown model", "negative tokens", "no input", "too long", "bad schema"],
)
async def test_errors_are_typed(
    mesh: Mesh,
    channel: grpc.aio.Channel,
    request_: generation_pb2.GenerateRequest,
    metadata: tuple[tuple[str, str], ...] | None,
    code: grpc.StatusCode,
    why: str,
) -> None:
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in stub.Generate(request_, metadata=credentials(mesh) if metadata is None else metadata):
            pass
    assert failed.value.code() == code
    assert reason(failed.value) == why


async def test_a_revoked_key_is_refused_within_a_second(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    key_id, key = mesh.create_key("leaver")
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    metadata = (("authorization", f"Bearer {key}"),)
    assert [m async for m in stub.Generate(ask("hello", tokens=1), metadata=metadata)]
    admin = admin_pb2_grpc.AdminServiceStub(channel)
    await admin.RevokeKey(admin_pb2.RevokeKeyRequest(key_id=key_id), metadata=credentials(mesh))
    revoked = time.monotonic()
    while True:
        try:
            async for _ in stub.Generate(ask("hello", tokens=1), metadata=metadata):
                pass
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED
            break
        assert time.monotonic() - revoked < 1.0


async def test_an_ordinary_key_cannot_administer(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    _, key = mesh.create_key("ordinary")
    admin = admin_pb2_grpc.AdminServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await admin.CreateKey(admin_pb2.CreateKeyRequest(name="x"), metadata=(("authorization", f"Bearer {key}"),))
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason(refused.value) == "SCOPE_DENIED"


async def test_internal_services_have_no_door(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    stub = usage_pb2_grpc.UsageServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        # Nothing is sent: a write that loses the race against the refusal would hide its code.
        async for _ in stub.Report(iter(()), metadata=credentials(mesh)):
            pass
    assert refused.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


async def test_a_deadline_ends_the_call_and_frees_the_slot(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
    # Eight answers at once: one alone may end by itself before the deadline.
    long = ask("a long one", tokens=400)
    long.choices = 8
    with pytest.raises(grpc.aio.AioRpcError) as late:
        async for _ in stub.Generate(long, metadata=credentials(mesh), timeout=0.03):
            pass
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert [m async for m in stub.Generate(ask("hello", tokens=2), metadata=credentials(mesh), timeout=30)]


async def test_explain_names_the_choice(mesh: Mesh, channel: grpc.aio.Channel) -> None:
    admin = admin_pb2_grpc.AdminServiceStub(channel)
    told = await admin.Explain(admin_pb2.ExplainRequest(prompt="Tell me a story"), metadata=credentials(mesh))
    assert told.admitted
    assert [c.model for c in told.candidates if c.chosen] == [MODEL]
    assert told.features
    rejection_reason = {c.model: c.passed_over_because for c in told.candidates if not c.chosen}
    assert rejection_reason["all-minilm-l6-v2"]


def _frames(body: bytes) -> list[tuple[int, bytes]]:
    frames = []
    while body:
        flag, length = struct.unpack(">BI", body[:5])
        frames.append((flag, body[5 : 5 + length]))
        body = body[5 + length :]
    return frames


@pytest.mark.parametrize("encoding", ["application/grpc-web+proto", "application/grpc-web-text+proto"])
def test_grpc_web_streams_and_trails(mesh: Mesh, encoding: str) -> None:
    message = ask("hello", tokens=4).SerializeToString()
    body = struct.pack(">BI", 0, len(message)) + message
    is_text = "text" in encoding
    answer = httpx.post(
        mesh.url + GENERATE,
        content=base64.b64encode(body) if is_text else body,
        headers={"content-type": encoding, "accept": encoding, "authorization": f"Bearer {mesh.key}"},
        timeout=30,
    )
    assert answer.status_code == 200
    raw = answer.content
    if is_text:
        # Each piece is padded for itself, so the whole decodes in groups of four characters.
        raw = b"".join(base64.b64decode(raw[start : start + 4]) for start in range(0, len(raw), 4))
    frames = _frames(raw)
    assert [flag for flag, _ in frames[:-1]] == [0] * (len(frames) - 1)
    last = generation_pb2.GenerateResponse.FromString(frames[-2][1])
    assert last.summary.usage.cost_nanos > 0
    assert frames[-1][0] == 0x80
    assert b"grpc-status:0" in frames[-1][1].replace(b" ", b"")
