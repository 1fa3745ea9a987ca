"""`openai.v1.TextService` over an engine in the same process.

The engine is called as a plain object, not over gRPC, so that one grant is accepted once and no token is copied twice.
It must not know that OpenAI's API exists; this module must not know which runtime answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import grpc
from google.api import httpbody_pb2

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.openai.v1 import text_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai._chat_output import ChatAnswer, ChatStream
from enginehouse.kit.openai._chat_request import read_chat
from enginehouse.kit.openai._completion_output import CompletionAnswer, CompletionStream
from enginehouse.kit.openai._completion_request import read_completion
from enginehouse.kit.openai._embedding import embedding_body, read_embedding
from enginehouse.kit.openai._output import Output
from enginehouse.kit.openai.errors import error_event, error_metadata, with_edge_names
from enginehouse.kit.trailers import add_trailer

MAX_BODY_BYTES = 8 * 2**20
"""The largest request body taken unless told otherwise."""


class GrantedCall(Protocol):
    """What the adapter needs of a call whose grant was accepted."""

    @property
    def request_id(self) -> str:
        """The request's id, from which the answer's `id` is made."""


CallT = TypeVar("CallT", bound=GrantedCall)
CallT_contra = TypeVar("CallT_contra", bound=GrantedCall, contravariant=True)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class TextEngine(Protocol[CallT_contra]):
    """A text engine in this process: `inference.v1.GenerationService` for calls whose grant was accepted already."""

    def generate(
        self, request: generation_pb2.GenerateRequest, call: CallT_contra
    ) -> AsyncGenerator[generation_pb2.GenerateResponse, None]:
        """Yields the messages of one generation. The last has a summary, whose usage is the whole call's so far.

        One call may generate several times in a row (a completion of several prompts). Closing the generator frees
        the model's slot at once. Raises ServiceError.
        """

    async def embed(self, request: generation_pb2.EmbedRequest, call: CallT_contra) -> generation_pb2.EmbedResponse:
        """Embeds texts; raises ServiceError."""


@dataclass(frozen=True, slots=True)
class _Job:
    requests: tuple[generation_pb2.GenerateRequest, ...]
    choices: int
    output: Output


class TextServicer(text_pb2_grpc.TextServiceServicer, Generic[CallT]):
    """Serves chat completions, completions and embeddings.

    Args:
        engine: does the work.
        accept: takes a call's grant (`Calls.accept`): settles its usage at exit, whatever the exit is.
        max_body_bytes: larger request bodies are refused.
    """

    def __init__(
        self,
        *,
        engine: TextEngine[CallT],
        accept: Callable[[Context], AbstractAsyncContextManager[CallT]],
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._engine = engine
        self._accept = accept
        self._max_body_bytes = max_body_bytes

    async def CreateChatCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """POST /v1/chat/completions."""
        async with aclosing(self._serve(request, context, _chat_job)) as messages:
            async for message in messages:
                yield message

    async def CreateCompletion(
        self, request: httpbody_pb2.HttpBody, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """POST /v1/completions."""
        async with aclosing(self._serve(request, context, _completion_job)) as messages:
            async for message in messages:
                yield message

    async def CreateEmbedding(self, request: httpbody_pb2.HttpBody, context: Context) -> httpbody_pb2.HttpBody:
        """POST /v1/embeddings."""
        try:
            async with self._accept(context) as call:
                asked = read_embedding(self._body(request))
                response = await self._engine.embed(asked.embed, call)
                data = embedding_body(response, encode=asked.base64)
                return httpbody_pb2.HttpBody(content_type="application/json", data=data)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            shown = _shown(error)
            _set_error(context, shown)
            if isinstance(error, ServiceError):
                raise shown from error.__cause__
            raise

    async def _serve(
        self, request: httpbody_pb2.HttpBody, context: Context, plan: Callable[[bytes, str], _Job]
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        content_type = ""
        try:
            async with self._accept(context) as call:
                job = plan(self._body(request), call.request_id)
                async with aclosing(self._generate(job, call)) as pieces:
                    async for data in pieces:
                        if content_type:
                            yield httpbody_pb2.HttpBody(data=data)
                        else:
                            content_type = job.output.content_type
                            yield httpbody_pb2.HttpBody(content_type=content_type, data=data)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            shown = _shown(error)
            if content_type:
                # An abort ends an HTTP body like any other end: only an event tells the client that it failed.
                yield httpbody_pb2.HttpBody(data=error_event(shown))
            else:
                _set_error(context, shown)
            if isinstance(error, ServiceError):
                raise shown from error.__cause__
            raise

    async def _generate(self, job: _Job, call: CallT) -> AsyncGenerator[bytes, None]:
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
                        yield data
            if usage is None:
                raise ServiceError(Reason.INTERNAL, "The engine ended a generation without its usage.")

    def _body(self, request: httpbody_pb2.HttpBody) -> bytes:
        if len(request.data) > self._max_body_bytes:
            raise ServiceError(
                Reason.REQUEST_TOO_LARGE,
                f"The request body has {len(request.data)} bytes; at most {self._max_body_bytes} are taken.",
            )
        return bytes(request.data)


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
    echoed: tuple[str, ...] = ()
    if first.echo:
        echoed = tuple(one.prompt for one in completion.prompts for _ in range(completion.choices))
    output: Output
    if completion.stream:
        output = CompletionStream(
            completion_id=completion_id, created=created, include_usage=completion.include_usage, prompts=echoed
        )
    else:
        output = CompletionAnswer(completion_id=completion_id, created=created, logprobs=first.logprobs, prompts=echoed)
    return _Job(completion.prompts, completion.choices, output)


def _shown(error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return with_edge_names(error)
    # A defect's text is for the log, not for the client.
    return ServiceError(Reason.INTERNAL, "The engine failed; its log has the details under this request's id.")


def _set_error(context: Context, error: ServiceError) -> None:
    add_trailer(context, *error_metadata(error))
    if error.retry_after_s is not None:
        # The edge answers with it, and OpenAI's clients wait for so long.
        add_trailer(context, "retry-after", str(math.ceil(error.retry_after_s)))
