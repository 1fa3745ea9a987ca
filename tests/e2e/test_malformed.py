"""Malformed bodies and frames: thousands of them, and the mesh still serves."""

from __future__ import annotations

import asyncio
import json
import random
import struct

import grpc
import httpx

from enginehouse.api.inference.v1 import generation_pb2
from tests.mesh import Mesh

SEED = 20261121
BODIES = 2_000
FRAMES = 1_000

VALID = {
    "model": "enginehouse-tiny",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 1,
    "stream": False,
    "temperature": 0.5,
    "stop": ["x"],
    "tools": [],
    "response_format": {"type": "text"},
}
STRANGE = [None, True, -1, 0, 1e308, 2**70, "", "\x00", "\ud800", "a" * 5000, [], {}, [[]], {"a": {"b": []}}, [None]]


def strange_body(source: random.Random) -> bytes:
    """A chat body that has been damaged in one of several ways."""
    kind = source.randrange(5)
    if kind == 0:
        return source.randbytes(source.randrange(200))
    body = json.loads(json.dumps(VALID))
    for _ in range(source.randrange(1, 3)):
        body[source.choice([*VALID, "n", "logprobs", "top_logprobs", "seed", "tool_choice", "user"])] = source.choice(
            STRANGE
        )
    if kind == 1:
        body["messages"] = [{source.choice(["role", "content", "x"]): source.choice(STRANGE)}]
    encoded = json.dumps(body).encode()
    if kind == 2:
        return encoded[: source.randrange(len(encoded))]
    if kind == 3:
        position = source.randrange(len(encoded))
        return encoded[:position] + source.randbytes(3) + encoded[position:]
    return encoded


async def test_no_body_causes_a_failure_of_ours(mesh: Mesh) -> None:
    source = random.Random(SEED)
    bodies = [strange_body(source) for _ in range(BODIES)]
    gate = asyncio.Semaphore(16)
    async with httpx.AsyncClient(
        base_url=mesh.url, headers={"authorization": f"Bearer {mesh.key}", "content-type": "application/json"}
    ) as client:

        async def send(body: bytes) -> tuple[int, bytes, str]:
            async with gate:
                path = source.choice(["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/generate"])
                answer = await client.post(path, content=body, timeout=60)
                return answer.status_code, body, answer.text

        answers = await asyncio.gather(*(send(body) for body in bodies))
        ours = [answer for answer in answers if answer[0] >= 500]
        assert not ours, ours[:3]
        assert any(status == 400 for status, _, _ in answers)
        for status, body, text in answers:
            if status >= 400:
                told = json.loads(text)
                assert told.get("error", told).get("message"), (status, body, text)
        good = await client.post("/v1/chat/completions", json=VALID, timeout=60)
        assert good.status_code == 200


async def test_no_frame_causes_a_failure_of_ours(mesh: Mesh) -> None:
    source = random.Random(SEED)
    valid = generation_pb2.GenerateRequest(model="enginehouse-tiny", prompt="hi", max_output_tokens=1)
    encoded = valid.SerializeToString()

    def damaged() -> bytes:
        kind = source.randrange(4)
        if kind == 0:
            return source.randbytes(source.randrange(64))
        if kind == 1:
            return encoded[: source.randrange(len(encoded))]
        position = source.randrange(len(encoded))
        return encoded[:position] + source.randbytes(2) + encoded[position + 1 :]

    ours: list[tuple[grpc.StatusCode, bytes]] = []
    gate = asyncio.Semaphore(16)
    async with grpc.aio.insecure_channel(mesh.target) as channel:
        call = channel.unary_stream("/enginehouse.api.inference.v1.GenerationService/Generate")

        async def send(message: bytes) -> None:
            async with gate:
                try:
                    async for _ in call(message, metadata=(("authorization", f"Bearer {mesh.key}"),), timeout=60):
                        pass
                except grpc.aio.AioRpcError as error:
                    if error.code() in (
                        grpc.StatusCode.INTERNAL,
                        grpc.StatusCode.UNKNOWN,
                        grpc.StatusCode.UNAVAILABLE,
                    ):
                        ours.append((error.code(), message))

        await asyncio.gather(*(send(damaged()) for _ in range(FRAMES)))
    assert not ours, ours[:3]


async def test_broken_framing_is_refused_and_forgotten(mesh: Mesh) -> None:
    source = random.Random(SEED)
    async with httpx.AsyncClient(base_url=mesh.url, headers={"authorization": f"Bearer {mesh.key}"}) as client:
        for _ in range(200):
            length = source.choice([0, 1, 5, 2**31, 2**32 - 1])
            body = struct.pack(">BI", source.choice([0, 1, 2, 255]), length) + source.randbytes(source.randrange(32))
            answer = await client.post(
                "/enginehouse.api.inference.v1.GenerationService/Generate",
                content=body[: source.randrange(1, len(body) + 1)],
                headers={"content-type": "application/grpc-web+proto"},
                timeout=30,
            )
            assert answer.status_code < 500
        assert (await client.get("/healthz")).status_code == 200
