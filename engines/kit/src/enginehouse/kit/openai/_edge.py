"""What every OpenAI endpoint does around its work: takes the grant, bounds the body, sends bytes, shapes failures."""

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
    """What the adapter needs of a call: an engine's granted one, or the router's that answers from its cache."""

    @property
    def request_id(self) -> str:
        """The request's id, from which the answer's `id` is made."""


CallT = TypeVar("CallT", bound=IdentifiedCall)
CallT_contra = TypeVar("CallT_contra", bound=IdentifiedCall, contravariant=True)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
BodyPiece: TypeAlias = tuple[str, bytes]
"""A content type, of which the answer's first counts, and bytes."""


class HttpBodyEdge(Generic[CallT]):
    """Serves calls of HttpBody.

    Args:
        accept: takes a call's grant (`Calls.accept`): settles its usage at exit, whatever the exit is.
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
        """Sends what the work makes of the body, as it is made."""
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
            shown = _shown(error)
            if not content_type:
                _set_error(context, shown)
            elif content_type == EVENT_STREAM:
                # An abort ends an HTTP body like any other end: only an event tells the client that it failed.
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
        """The one thing that the work makes of the body."""
        # To its end: a call that is left in the middle counts as one that nobody waits for.
        found = [body async for body in self.stream(request, context, work)]
        (only,) = found
        return only

    def _body(self, request: httpbody_pb2.HttpBody) -> bytes:
        if len(request.data) > self._max_body_bytes:
            raise ServiceError(
                Reason.REQUEST_TOO_LARGE,
                f"The request body has {len(request.data)} bytes; at most {self._max_body_bytes} are taken.",
            )
        return bytes(request.data)


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
