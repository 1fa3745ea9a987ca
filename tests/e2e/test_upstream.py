"""The upstream backend with this mesh's own public door as its provider."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.upstream import UpstreamBackend, UpstreamModel
from enginehouse.engines.inference.generation.events import FinishReason, GenerationEvent, OutputPiece, TokenCounts
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from tests.mesh import Mesh

MODEL = "enginehouse-tiny"


def through(mesh: Mesh, model: str, **options: object) -> CatalogModel:
    return CatalogModel(
        name="through-the-door",
        cluster="inference",
        backend="upstream",
        source=f"{mesh.url}/v1",
        context_tokens=512,
        max_output_tokens=64,
        capabilities=frozenset({"chat", "completion"}),
        quality=0.1,
        prices={},
        options={"model": model, "key_variable": "MESH_KEY", "retries": 0, "extensions": True} | options,
    )


@pytest.fixture
async def model(mesh: Mesh) -> AsyncIterator[UpstreamModel]:
    loaded = await UpstreamBackend(environ={"MESH_KEY": mesh.key}).load(through(mesh, MODEL))
    yield loaded
    await loaded.close()


def crow(**fields: object) -> generation_pb2.GenerateRequest:
    message = generation_pb2.Message(role=generation_pb2.ROLE_USER, content="Tell me a story about a clever crow")
    sampling = generation_pb2.Sampling(temperature=0, top_k=40, repeat_penalty=1.1)
    return generation_pb2.GenerateRequest(messages=[message], sampling=sampling, **fields)


async def run(model: UpstreamModel, request: generation_pb2.GenerateRequest, most: int = 24) -> list[GenerationEvent]:
    prepared = await model.prepare(request)
    return [event async for batch in model.generate(prepared, max_output_tokens=most) for event in batch]


async def test_text_and_usage_are_those_of_the_mesh(mesh: Mesh, model: UpstreamModel) -> None:
    events = await run(model, crow())
    pieces = [event for event in events if isinstance(event, OutputPiece)]
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me a story about a clever crow"}],
        "temperature": 0,
        "top_k": 40,
        "repeat_penalty": 1.1,
        "max_tokens": 24,
    }
    headers = {"authorization": f"Bearer {mesh.key}"}
    async with httpx.AsyncClient(timeout=60) as client:
        direct = (await client.post(f"{mesh.url}/v1/chat/completions", json=body, headers=headers)).json()
    assert "".join(piece.text for piece in pieces) == direct["choices"][0]["message"]["content"]
    [counts] = [event for event in events if isinstance(event, TokenCounts)]
    assert counts.input_tokens == direct["usage"]["prompt_tokens"]
    assert counts.output_tokens == direct["usage"]["completion_tokens"]
    assert sum(piece.tokens for piece in pieces) <= counts.output_tokens


async def test_completion_and_choices(model: UpstreamModel) -> None:
    request = generation_pb2.GenerateRequest(prompt="Once upon a time", choices=2)
    pieces = [event for event in await run(model, request, 8) if isinstance(event, OutputPiece)]
    assert {piece.index for piece in pieces if piece.finish} == {0, 1}


async def test_schema_binds_the_answer(model: UpstreamModel) -> None:
    schema = '{"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}'
    request = crow(format=generation_pb2.OutputFormat(json_schema=schema))
    pieces = [event for event in await run(model, request, 64) if isinstance(event, OutputPiece)]
    assert "".join(piece.text for piece in pieces).lstrip().startswith("{")
    assert pieces[-1].finish in (FinishReason.STOP, FinishReason.LENGTH)


async def test_what_the_mesh_refuses_is_told_apart(mesh: Mesh, model: UpstreamModel) -> None:
    with pytest.raises(ServiceError) as raised:
        await run(model, crow(stop=["x" * 300]))
    assert raised.value.reason is Reason.INVALID_REQUEST
    assert raised.value.violations[0].field == "stop"
    backend = UpstreamBackend(environ={"MESH_KEY": "eh_wrong"})
    stranger = await backend.load(through(mesh, MODEL))
    with pytest.raises(ServiceError) as raised:
        await run(stranger, crow())
    assert raised.value.reason is Reason.UPSTREAM_FAILED
    assert "eh_wrong" not in raised.value.message
    await stranger.close()
    unknown = await UpstreamBackend(environ={"MESH_KEY": mesh.key}).load(through(mesh, "none-such"))
    with pytest.raises(ServiceError) as raised:
        await run(unknown, crow())
    assert raised.value.reason is Reason.UPSTREAM_FAILED
    assert "none-such" in raised.value.message
    await unknown.close()
