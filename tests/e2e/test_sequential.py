"""Clients that ask one after the other are never refused for want of a slot, whatever they ask for and how."""

from __future__ import annotations

import concurrent.futures
import io
import wave
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest

from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc
from tests.mesh import Mesh

TURNS = 12
CHAT = {"model": "enginehouse-tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
Send = Callable[["Caller"], None]


class Caller:
    """A client with connections of its own."""

    def __init__(self, mesh: Mesh, key: str) -> None:
        self.http = httpx.Client(base_url=mesh.url, headers={"authorization": f"Bearer {key}"}, timeout=60)
        self.channel = grpc.insecure_channel(mesh.target)
        self.metadata = (("authorization", f"Bearer {key}"),)

    def close(self) -> None:
        self.http.close()
        self.channel.close()

    def post(self, path: str, **sent: Any) -> httpx.Response:
        answer = self.http.post(path, **sent)
        assert answer.status_code == 200, answer.text
        return answer

    def ask_grpc(self) -> None:
        stub: Any = generation_pb2_grpc.GenerationServiceStub(self.channel)
        request = generation_pb2.GenerateRequest(model="enginehouse-tiny", prompt="Once", max_output_tokens=3)
        assert list(stub.Generate(request, metadata=self.metadata, timeout=60))[-1].HasField("summary")

    def ask_json(self) -> None:
        assert self.post("/v1/chat/completions", json=CHAT).json()["choices"]

    def ask_events(self) -> None:
        """As many clients do, leave at the last event and not at the end of the body."""
        with self.http.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    return
        raise AssertionError("the stream has no end")

    def ask_embedding(self) -> None:
        assert self.post("/v1/embeddings", json={"model": "auto", "input": "one"}).json()["data"]

    def ask_speech(self) -> None:
        assert self.post("/v1/audio/speech", json={"model": "auto", "voice": "alloy", "input": "Yes."}).content

    def ask_transcript(self) -> None:
        heard = self.post("/v1/audio/transcriptions", files={"file": ("a.wav", SILENCE)}, data={"model": "auto"})
        assert "text" in heard.json()


def _silence() -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    return data.getvalue()


SILENCE = _silence()


@pytest.fixture(scope="module")
def limited(mesh: Mesh) -> Callable[[int], str]:
    keys: dict[int, str] = {}

    def key(slots: int) -> str:
        if slots not in keys:
            made = mesh.command("keys", "create", "--name", f"slots-{slots}", "--concurrency", str(slots))
            keys[slots] = made["key"]
        return keys[slots]

    return key


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize(
    "ask",
    [
        Caller.ask_grpc,
        Caller.ask_json,
        Caller.ask_events,
        Caller.ask_embedding,
        Caller.ask_speech,
        Caller.ask_transcript,
    ],
)
def test_nobody_is_refused(mesh: Mesh, limited: Callable[[int], str], ask: Send, slots: int) -> None:
    """As many clients as the key has slots."""
    key = limited(slots)

    def run(_: int) -> None:
        caller = Caller(mesh, key)
        try:
            for _ in range(TURNS):
                ask(caller)
        finally:
            caller.close()

    with concurrent.futures.ThreadPoolExecutor(slots) as threads:
        list(threads.map(run, range(slots)))
