"""The calls of a soak: each kind with the outcome that it must have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import grpc
import httpx

from enginehouse.api.common.v1 import usage_pb2
from enginehouse.api.inference.v1 import generation_pb2, generation_pb2_grpc

from .measure import PROMPT

_Stream = grpc.aio.UnaryStreamCall[generation_pb2.GenerateRequest, generation_pb2.GenerateResponse]
Call = Callable[[], Awaitable[str]]
"""One call; it returns what was unexpected about its outcome, "" if nothing was."""
DEADLINE_S = 60.0
OUTPUT = usage_pb2.UNIT_OUTPUT_TOKENS
STREAMED = 200


class SoakCalls:
    """The mix: short and streamed answers over gRPC and JSON, calls that are cancelled, and calls that are refused.

    Args:
        target: the mesh's address for gRPC.
        url: its address for HTTP.
        key: a key whose budget does not run out.
        poor: a key whose budget pays for nothing.
    """

    def __init__(self, *, target: str, url: str, key: str, poor: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._stub: generation_pb2_grpc.GenerationServiceAsyncStub = generation_pb2_grpc.GenerationServiceStub(
            self._channel
        )
        self._http = httpx.AsyncClient(base_url=url, timeout=DEADLINE_S)
        self._key = key
        self._poor = poor

    @property
    def mix(self) -> Mapping[str, tuple[int, Call]]:
        """Each kind of call, and the number of its kind among twenty calls."""
        return {
            "gRPC": (8, lambda: self._grpc(tokens=1)),
            "OpenAI JSON": (5, lambda: self._json(tokens=1)),
            "gRPC stream": (2, lambda: self._grpc(tokens=STREAMED)),
            "OpenAI JSON stream": (2, lambda: self._json(tokens=STREAMED)),
            "cancelled": (1, self._cancelled),
            "unknown key": (1, lambda: self._refused("sk-eh-nobody", grpc.StatusCode.UNAUTHENTICATED)),
            "no budget": (1, lambda: self._refused(self._poor, grpc.StatusCode.RESOURCE_EXHAUSTED)),
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._channel.close()

    def _begin(self, key: str, *, tokens: int, model: str = "synthetic") -> _Stream:
        request = generation_pb2.GenerateRequest(model=model, prompt=PROMPT, max_output_tokens=tokens)
        return self._stub.Generate(request, metadata=(("authorization", f"Bearer {key}"),), timeout=DEADLINE_S)

    async def _grpc(self, *, tokens: int) -> str:
        counted = 0
        try:
            async for message in self._begin(self._key, tokens=tokens):
                if message.HasField("summary"):
                    counted = sum(entry.amount for entry in message.summary.usage.units if entry.unit == OUTPUT)
        except grpc.aio.AioRpcError as error:
            return _said(error)
        return "" if counted == tokens else f"{counted} tokens instead of {tokens}"

    async def _json(self, *, tokens: int) -> str:
        body = {"model": "synthetic", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": tokens}
        headers = {"authorization": f"Bearer {self._key}"}
        try:
            answer = await self._http.post("/v1/chat/completions", json=body | {"stream": tokens > 1}, headers=headers)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        if answer.status_code != 200:
            return f"{answer.status_code}: {answer.text[:200]}"
        if tokens > 1:
            return (
                "" if answer.text.rstrip().endswith("data: [DONE]") else f"a stream without an end: {answer.text[-80:]}"
            )
        counted = answer.json()["usage"]["completion_tokens"]
        return "" if counted == tokens else f"{counted} tokens instead of {tokens}"

    async def _cancelled(self) -> str:
        call = self._begin(self._key, tokens=STREAMED, model="synthetic-slow")
        try:
            async for _ in call:
                call.cancel()
                return ""
        except grpc.aio.AioRpcError as error:
            return _said(error)
        return "it ended before it was cancelled"

    async def _refused(self, key: str, expected: grpc.StatusCode) -> str:
        try:
            async for _ in self._begin(key, tokens=1):
                pass
        except grpc.aio.AioRpcError as error:
            return "" if error.code() == expected else _said(error)
        return "it was served"


def _said(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
