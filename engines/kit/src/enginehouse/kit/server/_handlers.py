"""One wrapper around every handler: errors, limits, metrics, traces and the current call, without interceptors.

Handlers get raw bytes from gRPC and parse them here, so that a malformed message is the caller's INVALID_ARGUMENT and
not an exception in the runtime. Streamed responses are written from the handler's own task, and the servicer's
generator is closed there, so that a cancelled call unwinds at once, in order, in one task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, nullcontext
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from enginehouse.kit.current_call import REQUEST_ID_HEADER, CurrentCall, current_call
from enginehouse.kit.errors import STATUS_DETAILS_KEY, Reason, ServiceError, clip, to_status
from enginehouse.kit.last_message import last_test
from enginehouse.kit.telemetry import RpcMetrics, Tracing

_log = logging.getLogger(__name__)

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


class MethodHandlers(grpc.GenericRpcHandler):
    """The handlers of all methods that are served, wrapped.

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
        self._methods: dict[str, _Method] = {}

    def add(self, method: str, handler: Any) -> None:
        """Add a method's handler. `method` is its full name, "/package.Service/Method"."""
        self._methods[method] = _Method(method, handler, self)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of one call, which has its metadata; None for a method that is not served."""
        method = self._methods.get(handler_call_details.method)
        # The metadata is read already; asking the context for it would read it again.
        return None if method is None else method.kind(method, handler_call_details.invocation_metadata)

    async def run(self, served: _ServedCall, context: Context, request: Any) -> Any:
        """Do a call's work; return its response, or the last one of a stream that ends with one."""
        method = served.method
        call = CurrentCall(method.name, served.metadata)
        call.request_id = call.header(REQUEST_ID_HEADER)
        current_call.set(call)
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        entered = False
        try:
            self._gate.enter()
            entered = True
            if self._tracing is None:
                return await served.work(request, context, call)
            with self._tracing.serving(call):
                return await served.work(request, context, call)
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
                unknown = f"unknown method {method.name}: not served here"
                await _abort(context, ServiceError(Reason.UNKNOWN_METHOD, unknown))
            code = grpc.StatusCode.INTERNAL
            _log.exception("%s failed", method.name)
            named = f"; its id is {call.request_id}" if call.request_id else ""
            await _abort(
                context,
                ServiceError(Reason.INTERNAL, f"the request failed because of a defect in the service{named}"),
            )
        finally:
            if entered:
                self._gate.leave()
            if self._metrics is not None:
                self._metrics.observe(method.name, code, time.perf_counter() - started)

    def decode(self, method: _Method, data: bytes) -> Any:
        """Parse a request; raise ServiceError."""
        if len(data) > self._max_request_bytes:
            raise ServiceError(
                Reason.REQUEST_TOO_LARGE,
                f"the request is too large: {len(data)} bytes; at most {self._max_request_bytes} are allowed",
            )
        try:
            return method.deserialize(data)
        except DecodeError as error:
            raise ServiceError(Reason.INVALID_REQUEST, f"invalid message: {clip(str(error), 200)}") from None


class _Method:
    """One method: how its messages are read and written, and what serves it."""

    __slots__ = ("deserialize", "handlers", "is_last", "kind", "name", "serialize", "serve")

    def __init__(self, name: str, handler: Any, handlers: MethodHandlers) -> None:
        self.name = name
        self.handlers = handlers
        self.deserialize: Callable[[bytes], Any] = handler.request_deserializer
        self.serialize: Callable[[Any], bytes] = handler.response_serializer
        self.is_last: Callable[[Any], bool] | None = None
        self.kind: type[_ServedCall]
        if handler.response_streaming:
            self.serve = handler.stream_stream if handler.request_streaming else handler.unary_stream
            self.is_last = last_test(self.serve)
            if handler.request_streaming:
                self.kind = _StreamStream
            else:
                self.kind = _UnaryStream if self.is_last is None else _EndingStream
        elif handler.request_streaming:
            self.serve, self.kind = handler.stream_unary, _StreamUnary
        else:
            self.serve, self.kind = handler.unary_unary, _UnaryUnary


class _ServedCall:
    """One call, with the attributes that gRPC reads from a method's handler. Its kinds are the subclasses."""

    __slots__ = ("metadata", "method")

    request_streaming = False
    response_streaming = False
    request_deserializer = None

    def __init__(self, method: _Method, metadata: Any) -> None:
        self.method = method
        self.metadata = metadata

    @property
    def response_serializer(self) -> Callable[[Any], bytes]:
        return self.method.serialize

    async def work(self, request: Any, context: Context, call: CurrentCall) -> Any:
        raise NotImplementedError


class _UnaryUnary(_ServedCall):
    __slots__ = ()

    async def unary_unary(self, request: bytes, context: Context) -> Any:
        return await self.method.handlers.run(self, context, request)

    async def work(self, request: Any, context: Context, call: CurrentCall) -> Any:
        method = self.method
        response = await method.serve(method.handlers.decode(method, request), context)
        if call.leading:
            await context.send_initial_metadata(call.leading)
        return response


class _StreamUnary(_ServedCall):
    __slots__ = ()

    request_streaming = True

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Context) -> Any:
        return await self.method.handlers.run(self, context, _Requests(requests, self.method))

    async def work(self, request: Any, context: Context, call: CurrentCall) -> Any:
        return await self.method.serve(request, context)


class _StreamStream(_ServedCall):
    __slots__ = ()

    request_streaming = True
    response_streaming = True

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self.method.handlers.run(self, context, _Requests(requests, self.method))

    async def work(self, request: Any, context: Context, call: CurrentCall) -> Any:
        responses = self.method.serve(request, context)
        if not hasattr(responses, "__anext__"):
            # A handler that writes to the context itself.
            await responses
            return
        write = context.write
        begun = False
        async with aclosing(responses) if hasattr(responses, "aclose") else nullcontext():
            async for response in responses:
                if not begun:
                    begun = True
                    if call.leading:
                        await context.send_initial_metadata(call.leading)
                await write(response)


class _UnaryStream(_StreamStream):
    __slots__ = ()

    request_streaming = False

    async def unary_stream(self, request: bytes, context: Context) -> None:
        await self.method.handlers.run(self, context, request)

    async def work(self, request: Any, context: Context, call: CurrentCall) -> Any:
        await super().work(self.method.handlers.decode(self.method, request), context, call)


class _EndingStream(_ServedCall):
    """A stream whose last message goes out together with the status, as that of a unary call does.

    To gRPC's library it is a unary call whose handler writes before it returns. On the wire there is no difference.
    """

    __slots__ = ()

    async def unary_unary(self, request: bytes, context: Context) -> Any:
        return await self.method.handlers.run(self, context, request)

    async def work(self, request: Any, context: Context, call: CurrentCall) -> Any:
        method = self.method
        is_last, serialize = method.is_last, method.serialize
        assert is_last is not None
        begun = False
        last = None
        async with aclosing(method.serve(method.handlers.decode(method, request), context)) as responses:
            try:
                async for response in responses:
                    if is_last(response):
                        last = response
                        continue
                    if not begun:
                        begun = True
                        if call.leading:
                            await context.send_initial_metadata(call.leading)
                    await context.write(serialize(response))
            except Exception:
                if last is not None:
                    await context.write(serialize(last))
                raise
        if last is None:
            raise RuntimeError(f"{method.name} ended without its last message")
        if call.leading and not begun:
            await context.send_initial_metadata(call.leading)
        return last


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

    __slots__ = ("_iterator", "_method", "_requests")

    def __init__(self, requests: AsyncIterator[bytes], method: _Method) -> None:
        self._requests = requests
        self._iterator: AsyncIterator[bytes] | None = None
        self._method = method

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._requests.__aiter__()
        return self._method.handlers.decode(self._method, await self._iterator.__anext__())


async def _abort(context: Context, error: ServiceError) -> None:
    status = to_status(error)
    await context.abort(
        error.code,
        status.message,
        (*(context.trailing_metadata() or ()), (STATUS_DETAILS_KEY, status.SerializeToString())),
    )
