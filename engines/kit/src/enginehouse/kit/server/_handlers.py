"""One wrapper around every handler: errors, limits, metrics, traces and the current call, without interceptors.

Handlers get raw bytes from gRPC and parse them here, so that a malformed message is the caller's INVALID_ARGUMENT and
not an exception in the runtime. Streamed responses are written from the handler's own task, and the servicer's
generator is closed there, so that a cancelled call unwinds at once, in order, in one task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, nullcontext
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from enginehouse.kit.current_call import REQUEST_ID_HEADER, CurrentCall, current_call
from enginehouse.kit.errors import STATUS_DETAILS_KEY, Reason, ServiceError, clip, to_status
from enginehouse.kit.telemetry import RpcMetrics, Tracing

_log = logging.getLogger(__name__)

Decode = Callable[[bytes], Any]
Context = Any


class Gate:
    """The count of calls being served, which refuses new ones while the server drains."""

    def __init__(self) -> None:
        self.active = 0
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()

    def enter(self) -> None:
        """Count a call that begins.

        Raises:
            ServiceError: ENGINE_DRAINING.
        """
        if self.draining:
            raise ServiceError(
                Reason.ENGINE_DRAINING, "the engine is shutting down and accepts no new work; retry", retry_after_s=0.1
            )
        self.active += 1
        self.idle.clear()

    def leave(self) -> None:
        """Count a call that has ended."""
        self.active -= 1
        if self.active == 0:
            self.idle.set()


class HandlerWrapper:
    """Wraps the method handlers of a generated servicer.

    Args:
        gate: counts and refuses.
        max_request_bytes: the largest request message that is parsed.
        metrics: None for none.
        tracing: None for none.
    """

    def __init__(
        self, *, gate: Gate, max_request_bytes: int, metrics: RpcMetrics | None, tracing: Tracing | None
    ) -> None:
        self._gate = gate
        self._max_request_bytes = max_request_bytes
        self._metrics = metrics
        self._tracing = tracing

    def wrap(self, method: str, handler: Any) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
        """Return a method's handler, wrapped. `method` is its full name, "/package.Service/Method"."""
        decode = self._decoder(handler.request_deserializer)
        serialize = handler.response_serializer
        run = self._run

        if handler.request_streaming and handler.response_streaming:

            async def stream_stream(requests: AsyncIterator[bytes], context: Context) -> None:
                await run(method, context, _write_all, handler.stream_stream, _Requests(requests, decode), context)

            return grpc.stream_stream_rpc_method_handler(stream_stream, None, serialize)
        if handler.request_streaming:

            async def stream_unary(requests: AsyncIterator[bytes], context: Context) -> Any:
                return await run(method, context, handler.stream_unary, _Requests(requests, decode), context)

            return grpc.stream_unary_rpc_method_handler(stream_unary, None, serialize)
        if handler.response_streaming:

            async def unary_stream(request: bytes, context: Context) -> None:
                await run(method, context, _decode_and_write_all, decode, handler.unary_stream, request, context)

            return grpc.unary_stream_rpc_method_handler(unary_stream, None, serialize)

        async def unary_unary(request: bytes, context: Context) -> Any:
            return await run(method, context, _decode_and_call, decode, handler.unary_unary, request, context)

        return grpc.unary_unary_rpc_method_handler(unary_unary, None, serialize)

    async def _run(self, method: str, context: Context, work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        call = CurrentCall(method, context.invocation_metadata())
        call.request_id = call.header(REQUEST_ID_HEADER)
        current_call.set(call)
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        entered = False
        try:
            self._gate.enter()
            entered = True
            if self._tracing is None:
                return await work(*arguments)
            with self._tracing.serving(call):
                return await work(*arguments)
        except ServiceError as error:
            code = error.code
            await _abort(context, error)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            raise
        except grpc.aio.AbortError:
            code = grpc.StatusCode.UNKNOWN
            raise
        except Exception as error:
            if isinstance(error, NotImplementedError) and context.code() is grpc.StatusCode.UNIMPLEMENTED:
                # Generated code does so for a method that the servicer leaves out.
                code = grpc.StatusCode.UNIMPLEMENTED
                await _abort(context, ServiceError(Reason.UNKNOWN_METHOD, f"unknown method {method}: not served here"))
            code = grpc.StatusCode.INTERNAL
            _log.exception("%s failed", method)
            named = f"; its id is {call.request_id}" if call.request_id else ""
            await _abort(
                context,
                ServiceError(Reason.INTERNAL, f"the request failed because of a defect in the service{named}"),
            )
        finally:
            if entered:
                self._gate.leave()
            if self._metrics is not None:
                self._metrics.observe(method, code, time.perf_counter() - started)

    def _decoder(self, deserialize: Callable[[bytes], Any]) -> Decode:
        limit = self._max_request_bytes

        def decode(data: bytes) -> Any:
            if len(data) > limit:
                raise ServiceError(
                    Reason.REQUEST_TOO_LARGE,
                    f"the request is too large: {len(data)} bytes; at most {limit} are allowed",
                )
            try:
                return deserialize(data)
            except DecodeError as error:
                raise ServiceError(Reason.INVALID_REQUEST, f"invalid message: {clip(str(error), 200)}") from None

        return decode


class UnknownMethods(grpc.GenericRpcHandler):
    """The handler of every method that no service has: a typed error. Registered last."""

    def __init__(self, services: tuple[str, ...]) -> None:
        self._services = services

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler for a method: always one that fails."""
        method = handler_call_details.method

        async def refuse(request: bytes, context: Context) -> Any:
            known = ", ".join(self._services)
            await _abort(
                context,
                ServiceError(Reason.UNKNOWN_METHOD, f"unknown method {clip(str(method), 200)!r}; served: {known}"),
            )

        return grpc.unary_unary_rpc_method_handler(refuse)


class _Requests:
    """A stream of requests, parsed as they are read.

    The runtime's iterator is created with the first read: an iterator that is never read warns when it is collected, so
    a call that is refused or cancelled before it reads must not have created one.
    """

    __slots__ = ("_decode", "_iterator", "_requests")

    def __init__(self, requests: AsyncIterator[bytes], decode: Decode) -> None:
        self._requests = requests
        self._iterator: AsyncIterator[bytes] | None = None
        self._decode = decode

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._requests.__aiter__()
        return self._decode(await self._iterator.__anext__())


async def _decode_and_call(decode: Decode, call: Callable[..., Any], request: bytes, context: Context) -> Any:
    response = await call(decode(request), context)
    await _lead(context)
    return response


async def _decode_and_write_all(decode: Decode, call: Callable[..., Any], request: bytes, context: Context) -> None:
    await _write_all(call, decode(request), context)


async def _write_all(call: Callable[..., Any], request: Any, context: Context) -> None:
    responses = call(request, context)
    if hasattr(responses, "__anext__"):
        write = context.write
        begun = False
        async with aclosing(responses) if hasattr(responses, "aclose") else nullcontext():
            async for response in responses:
                if not begun:
                    begun = True
                    await _lead(context)
                await write(response)
    else:
        # A handler that writes to the context itself.
        await responses


async def _lead(context: Context) -> None:
    """Send the metadata that a call's handler wants to be known before its first message."""
    current = current_call.get()
    if current is not None and current.leading:
        await context.send_initial_metadata(current.leading)


async def _abort(context: Context, error: ServiceError) -> None:
    status = to_status(error)
    await context.abort(
        error.code,
        status.message,
        (*(context.trailing_metadata() or ()), (STATUS_DETAILS_KEY, status.SerializeToString())),
    )
