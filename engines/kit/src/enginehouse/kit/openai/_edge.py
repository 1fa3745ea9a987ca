"""The frame of every OpenAI endpoint: accept the grant, bound the body, send bytes, shape failures."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import grpc
from google.api import httpbody_pb2

from enginehouse.kit.calls.trailers import add_trailer
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.openai.errors import error_event, error_metadata, with_edge_names

EVENT_STREAM = "text/event-stream"


class IdentifiedCall(Protocol):
    """The part of a call that the endpoints need: an engine's granted call, or the router's call to its cache."""

    @property
    def request_id(self) -> str:
        """The request's id, from which the answer's `id` is made."""


CallT = TypeVar("CallT", bound=IdentifiedCall)
CallT_contra = TypeVar("CallT_contra", bound=IdentifiedCall, contravariant=True)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
BodyPiece: TypeAlias = tuple[str, bytes]
"""A content type, which the first piece of an answer sets, and bytes."""


class HttpBodyEdge(Generic[CallT]):
    """The frame around the work on a call of HttpBody.

    Args:
        accept: accepts a call's grant (`Calls.accept`), and records its usage at exit, whatever the exit is.
        max_body_bytes: larger request bodies are refused.
    """

    def __init__(self, *, accept: Callable[[Context], AbstractAsyncContextManager[CallT]], max_body_bytes: int) -> None:
        self._accept = accept
        self._max_body_bytes = max_body_bytes

    async def stream(
        self,
        request: httpbody_pb2.HttpBody,
        context: Context,
        work: Callable[[bytes, CallT], AsyncGenerator[BodyPiece, None]],
    ) -> AsyncGenerator[httpbody_pb2.HttpBody, None]:
        """Send the pieces that the work makes of the body, as they are made."""
        content_type = ""
        try:
            async with self._accept(context) as call, aclosing(work(self._body(request), call)) as pieces:
                async for kind, data in pieces:
                    if content_type:
                        yield httpbody_pb2.HttpBody(data=data)
                    else:
                        content_type = kind
                        yield httpbody_pb2.HttpBody(content_type=kind, data=data)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            shown = _shown(error, request.data)
            if not content_type:
                _set_error(context, shown)
            elif content_type == EVENT_STREAM:
                # An abort looks like the normal end of an HTTP body: only an event tells the client of the failure.
                yield httpbody_pb2.HttpBody(data=error_event(shown))
            if isinstance(error, ServiceError):
                raise shown from error.__cause__
            raise

    async def single(
        self,
        request: httpbody_pb2.HttpBody,
        context: Context,
        work: Callable[[bytes, CallT], AsyncGenerator[BodyPiece, None]],
    ) -> httpbody_pb2.HttpBody:
        """Return the one piece that the work makes of the body."""
        # Consume it to its end: a call that is left in the middle counts as cancelled.
        found = [body async for body in self.stream(request, context, work)]
        (only,) = found
        return only

    def _body(self, request: httpbody_pb2.HttpBody) -> bytes:
        if len(request.data) > self._max_body_bytes:
            raise ServiceError(
                Reason.REQUEST_TOO_LARGE,
                f"The request body is too large: {len(request.data)} bytes, over {self._max_body_bytes}.",
            )
        return bytes(request.data)


def _shown(error: Exception, sent: bytes) -> ServiceError:
    if isinstance(error, ServiceError):
        return with_edge_names(error, sent)
    # A defect's message is for the log, not for the client.
    return ServiceError(Reason.INTERNAL, "The engine failed; its log has the details under this request's id.")


def _set_error(context: Context, error: ServiceError) -> None:
    add_trailer(context, *error_metadata(error))
    if error.retry_after_s is not None:
        # The gateway answers with this header, and OpenAI's clients wait for so long.
        add_trailer(context, "retry-after", str(math.ceil(error.retry_after_s)))
