"""A real gRPC server that plays a script."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from clients.python.tests.harness.behaviours import Behaviour
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.openai.v1 import text_pb2
from enginehouse.api.router.v1 import (
    admin_pb2,
    cache_pb2,
    experiments_pb2,
    feedback_pb2,
    flags_pb2,
    identity_pb2,
    policy_pb2,
    rollouts_pb2,
)
from enginehouse.api.voice.v1 import voice_pb2

_FILES = (
    *(generation_pb2, text_pb2, voice_pb2, admin_pb2, cache_pb2, experiments_pb2, feedback_pb2, flags_pb2),
    *(identity_pb2, policy_pb2, rollouts_pb2),
)
SERVICES = tuple(service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values())
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 * 2**20))


class ScriptedServer:
    """A server that answers each call with the next behaviour of its script, whatever the method.

    Attributes:
        url: the server's address.
        script: the behaviours of the calls to come.
        requests: every request message received.
        metadata: the headers of each call.
        time_remaining: the seconds until each call's deadline; None for no deadline.
        ended: set when a streaming call has ended, on whichever side.
    """

    def __init__(self) -> None:
        self.script: list[Behaviour] = []
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.time_remaining: list[float | None] = []
        self.ended = threading.Event()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=_OPTIONS)
        self._server.add_generic_rpc_handlers(tuple(self._handler(service) for service in SERVICES))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def start(self) -> None:
        """Start to serve."""
        self._server.start()

    def stop(self) -> None:
        """Cancel the calls and stop."""
        self._server.stop(None).wait()

    async def wait_until_ended(self) -> None:
        """Wait until a streaming call has ended."""
        assert await asyncio.to_thread(self.ended.wait, 10)

    def _handler(self, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
        methods = {method.name: self._method_handler(method) for method in service.methods}
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _method_handler(self, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        codecs: dict[str, Any] = {
            "request_deserializer": message_factory.GetMessageClass(method.input_type).FromString,
            "response_serializer": message_factory.GetMessageClass(method.output_type).SerializeToString,
        }
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._play_bidi, **codecs)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._play_stream, **codecs)
        return grpc.unary_unary_rpc_method_handler(self._play_unary, **codecs)

    def _play_unary(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        return next(self._play(request, context))

    def _play_stream(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.requests.append(request)
        context.add_callback(self.ended.set)
        yield from self._play(request, context)

    def _play_bidi(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(self.ended.set)
        yield from self._play(self._recorded(requests), context)

    def _play(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        self.time_remaining.append(context.time_remaining())
        return self.script.pop(0)(request, context)

    def _recorded(self, requests: Iterable[Any]) -> Iterator[Any]:
        for request in requests:
            self.requests.append(request)
            yield request
