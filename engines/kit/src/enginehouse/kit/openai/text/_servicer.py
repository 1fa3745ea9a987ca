"""`openai.v1.TextService` over an engine in the same process.

The engine is called as a plain object, not over gRPC, so that a grant is accepted once and no token is copied twice. It
must not know OpenAI's API; this module must not know which runtime answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Generic, Protocol

from google.api import httpbody_pb2

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.openai.v1 import text_pb2, text_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.last_message import ends_with
from enginehouse.kit.openai._edge import BodyPiece, CallT, CallT_contra, Context, HttpBodyEdge
from enginehouse.kit.openai.text._chat_output import ChatAnswer, ChatStream
from enginehouse.kit.openai.text._chat_request import read_chat
from enginehouse.kit.openai.text._completion_output import CompletionAnswer, CompletionStream
from enginehouse.kit.openai.text._completion_request import read_completion
from enginehouse.kit.openai.text._embedding import embedding_body, read_embedding
from enginehouse.kit.openai.text._output import Output, is_last_piece

# Reflection describes the contracts that are loaded, and the stub of a service without messages loads none.
DESCRIPTOR = text_pb2.DESCRIPTOR

MAX_BODY_BYTES = 8 * 2**20
"""The default bound on a request body."""


class InProcessTextEngine(Protocol[CallT_contra]):
    """A text engine in this process: `inference.v1.GenerationService` for calls whose grant was accepted already."""

    def generate(
        self, request: generation_pb2.GenerateRequest, call: CallT_contra
    ) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        """Yield the messages of one generation. The last has a summary, whose usage is the whole call's so far.

        One call may generate several times in a row (a completion of several prompts). Closing the generator frees
        the model's slot at once.

        Raises:
            ServiceError: the model cannot answer.
        """

    async def embed(self, request: generation_pb2.EmbedRequest, call: CallT_contra) -> generation_pb2.EmbedResponse:
        """Embed texts; raise ServiceError."""


@dataclass(frozen=True, slots=True)
class _Job:
    requests: tuple[generation_pb2.GenerateRequest, ...]
    choices: int
    output: Output


class TextServicer(text_pb2_grpc.TextServiceServicer, Generic[CallT]):
    """The endpoints for chat completions, completions and embeddings.

    Args:
        engine: does the work.
        accept: accepts a call's grant (`Calls.accept`), and records its usage at exit, whatever the exit is.
        max_body_bytes: larger request bodies are refused.
    """

    def __init__(
        self,
        *,
        engine: InProcessTextEngine[CallT],
        accept: Callable[[Context], AbstractAsyncContextManager[CallT]],
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._engine = engine
        self._edge = HttpBodyEdge(accept=accept, max_body_bytes=max_body_bytes)

    @ends_with(is_last_piece)
    def CreateChatCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        """POST /v1/chat/completions."""
        return self._edge.stream(request, context, self._chat)

    @ends_with(is_last_piece)
    def CreateCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        """POST /v1/completions."""
        return self._edge.stream(request, context, self._completion)

    async def CreateEmbedding(self, request: httpbody_pb2.HttpBody, context: Context) -> httpbody_pb2.HttpBody:
        """POST /v1/embeddings."""
        return await self._edge.single(request, context, self._embed)

    def _chat(self, body: bytes, call: CallT) -> AsyncGenerator[BodyPiece, None]:
        return self._generate(_chat_job(body, call.request_id), call)

    def _completion(self, body: bytes, call: CallT) -> AsyncGenerator[BodyPiece, None]:
        return self._generate(_completion_job(body, call.request_id), call)

    async def _embed(self, body: bytes, call: CallT) -> AsyncGenerator[BodyPiece, None]:
        asked = read_embedding(body)
        response = await self._engine.embed(asked.embed, call)
        yield "application/json", embedding_body(response, encode=asked.base64)

    async def _generate(self, job: _Job, call: CallT) -> AsyncGenerator[BodyPiece, None]:
        output = job.output
        last = len(job.requests) - 1
        for position, request in enumerate(job.requests):
            usage = None
            async with aclosing(self._engine.generate(request, call)) as responses:
                async for response in responses:
                    data = output.add(response, first_choice=position * job.choices)
                    if response.HasField("summary"):
                        usage = response.summary.usage
                        if position == last:
                            data += output.end(usage)
                    if data:
                        yield output.content_type, data
            if usage is None:
                raise ServiceError(Reason.INTERNAL, "The engine ended a generation without its usage.")


def _chat_job(body: bytes, request_id: str) -> _Job:
    chat = read_chat(body)
    request = chat.generate
    completion_id = f"chatcmpl-{request_id}"
    created = int(time.time())
    output: Output
    if chat.stream:
        output = ChatStream(completion_id=completion_id, created=created, include_usage=chat.include_usage)
    else:
        output = ChatAnswer(completion_id=completion_id, created=created, logprobs=request.logprobs)
    return _Job((request,), request.choices or 1, output)


def _completion_job(body: bytes, request_id: str) -> _Job:
    completion = read_completion(body)
    first = completion.prompts[0]
    completion_id = f"cmpl-{request_id}"
    created = int(time.time())
    output: Output
    if completion.stream:
        output = CompletionStream(completion_id=completion_id, created=created, include_usage=completion.include_usage)
    else:
        output = CompletionAnswer(completion_id=completion_id, created=created, logprobs=first.logprobs)
    return _Job(completion.prompts, completion.choices, output)
