"""The methods of services, as the engine's own reflection describes them."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from enginehouse.api.options.v1 import options_pb2
from enginehouse.kit.conformance._calls import call

REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
HTTP_BODY = "google.api.HttpBody"


class ReflectionError(Exception):
    """Reflection does not describe the service; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServedMethod:
    """A method of a service under test.

    Attributes:
        service: the service's full name.
        name: the method's name.
        request: the descriptor of its request.
        response: the descriptor of its response.
        streams_requests: whether the client streams.
        streams_responses: whether the engine streams.
        options: the contract's options of the method.
    """

    service: str
    name: str
    request: Descriptor
    response: Descriptor
    streams_requests: bool
    streams_responses: bool
    options: options_pb2.MethodOptions

    @property
    def path(self) -> str:
        """The full method, "/package.Service/Method"."""
        return f"/{self.service}/{self.name}"

    @property
    def takes_http_body(self) -> bool:
        """True if its request is `google.api.HttpBody`: a method of an HTTP API that is carried as bytes."""
        return self.request.full_name == HTTP_BODY

    @property
    def unit_names(self) -> tuple[str, ...]:
        """The names of the units that its options say it counts."""
        return tuple(unit.name for unit in self.options.units)

    def new_request(self) -> Any:
        """A new, empty request."""
        return message_factory.GetMessageClass(self.request)()

    def parse_response(self, data: bytes) -> Any:
        """Return the response that the bytes are.

        Raises:
            DecodeError: they are none.
        """
        return message_factory.GetMessageClass(self.response).FromString(data)


async def list_services(channel: grpc.aio.Channel, *, timeout_s: float) -> list[str]:
    """The full names of the services that reflection lists.

    Raises:
        ReflectionError: reflection does not answer.
    """
    answer = await _ask(channel, reflection_pb2.ServerReflectionRequest(list_services=""), timeout_s=timeout_s)
    return [service.name for service in answer.list_services_response.service]


async def describe_service(channel: grpc.aio.Channel, service: str, *, timeout_s: float) -> list[ServedMethod]:
    """The methods of a service, in the order of its definition.

    Raises:
        ReflectionError: the descriptors are missing, incomplete or contradictory.
    """
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
    await _collect(channel, symbol, files, timeout_s=timeout_s)
    wanted = [name for file in list(files.values()) for name in file.dependency]
    while wanted:
        name = wanted.pop()
        if name in files:
            continue
        own = _well_known(name)
        if own is not None:
            files[name] = own
        else:
            by_name = reflection_pb2.ServerReflectionRequest(file_by_filename=name)
            await _collect(channel, by_name, files, timeout_s=timeout_s)
            if name not in files:
                raise ReflectionError(f"reflection describes {service} without its dependency {name}")
        wanted += files[name].dependency
    pool = descriptor_pool.DescriptorPool()
    try:
        for name in list(files):
            _add(pool, files, name)
        found = pool.FindServiceByName(service)
    except (TypeError, KeyError) as error:
        raise ReflectionError(f"the descriptors of {service} do not fit together: {error}") from None
    return [_method(service, method) for method in found.methods]


def _method(service: str, method: MethodDescriptor) -> ServedMethod:
    return ServedMethod(
        service=service,
        name=method.name,
        request=method.input_type,
        response=method.output_type,
        streams_requests=method.client_streaming,
        streams_responses=method.server_streaming,
        options=_options(method),
    )


def _options(method: MethodDescriptor) -> options_pb2.MethodOptions:
    """The method's options; read again, because the engine's descriptors have classes of their own."""
    read = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    found: options_pb2.MethodOptions = read.Extensions[options_pb2.method]
    return found


async def _collect(
    channel: grpc.aio.Channel, request: Any, files: dict[str, descriptor_pb2.FileDescriptorProto], *, timeout_s: float
) -> None:
    answer = await _ask(channel, request, timeout_s=timeout_s)
    if answer.WhichOneof("message_response") == "error_response":
        asked = request.file_containing_symbol or request.file_by_filename
        raise ReflectionError(f"reflection does not describe {asked}: {answer.error_response.error_message}")
    for serialized in answer.file_descriptor_response.file_descriptor_proto:
        try:
            file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
        except DecodeError:
            raise ReflectionError("reflection answers with bytes that are no file descriptor") from None
        files.setdefault(file.name, file)


async def _ask(channel: grpc.aio.Channel, request: Any, *, timeout_s: float) -> Any:
    ended = await call(channel, REFLECTION, [request.SerializeToString()], timeout_s=timeout_s)
    if not ended.messages:
        raise ReflectionError(f"reflection (grpc.reflection.v1) does not answer: {ended}")
    return reflection_pb2.ServerReflectionResponse.FromString(ended.messages[0])


def _well_known(name: str) -> descriptor_pb2.FileDescriptorProto | None:
    """The file where it is protobuf's own, which servers need not describe."""
    if not name.startswith("google/protobuf/"):
        return None
    file = descriptor_pb2.FileDescriptorProto()
    try:
        descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
    except KeyError:
        return None
    return file


def _add(pool: descriptor_pool.DescriptorPool, files: dict[str, descriptor_pb2.FileDescriptorProto], name: str) -> None:
    """Add a file after its dependencies; each once."""
    try:
        pool.FindFileByName(name)
    except KeyError:
        for dependency in files[name].dependency:
            _add(pool, files, dependency)
        pool.Add(files[name])
