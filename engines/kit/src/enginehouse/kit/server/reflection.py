"""gRPC server reflection, v1 and v1alpha, over descriptors: every symbol is found, whatever its kind, reflection's too.

The servicer of `grpc_reflection` asks a descriptor pool, which finds neither methods nor the values of enums.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import grpc
from google.protobuf import descriptor, descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2

REFLECTION_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
"""Both names of the service. The messages of v1 are those of v1alpha in another package."""

_METHOD = "ServerReflectionInfo"
_V1ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_MESSAGE_FIELD = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_Context = grpc.aio.ServicerContext[reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse]


class SymbolIndex:
    """The files of descriptors by name, by the symbols that they define and by the extensions.

    Args:
        files: the files with all that they import; of two with one name the first is kept. Those of reflection itself
            are added.
    """

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self._files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        self._symbols: dict[str, str] = {}
        self._extensions: dict[str, dict[int, str]] = {}
        for file in (*files, *_reflection_files()):
            if file.name not in self._files:
                self._add(file)

    def file_named(self, name: str) -> list[bytes]:
        """Return a file and all that it imports, serialized; empty if there is none of that name."""
        return self._with_imports(name)

    def file_with(self, symbol: str) -> list[bytes]:
        """Return the file that defines a message, field, oneof, enum, enum value, service, method or extension."""
        return self._with_imports(self._symbols.get(symbol.removeprefix("."), ""))

    def file_with_extension(self, extended: str, number: int) -> list[bytes]:
        """Return the file that defines an extension of a message, by its number."""
        return self._with_imports(self._extensions.get(extended.removeprefix("."), {}).get(number, ""))

    def extension_numbers(self, extended: str) -> list[int] | None:
        """Return the numbers of a message's extensions; None if there is no such message."""
        name = extended.removeprefix(".")
        if name not in self._symbols and name not in self._extensions:
            return None
        return sorted(self._extensions.get(name, {}))

    def _add(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self._files[file.name] = file
        for symbol in _symbols(file):
            self._symbols.setdefault(symbol, file.name)
        for extension in _extensions(file):
            self._extensions.setdefault(extension.extendee.lstrip("."), {})[extension.number] = file.name

    def _with_imports(self, name: str) -> list[bytes]:
        found: dict[str, bytes] = {}
        todo = [name]
        while todo:
            name = todo.pop()
            file = self._files.get(name)
            if file is not None and name not in found:
                found[name] = file.SerializeToString()
                todo += file.dependency
        return list(found.values())


class Reflection:
    """The reflection service.

    Args:
        index: what can be described.
        services: returns the full names of the services to list now, without those of reflection.
    """

    def __init__(self, *, index: SymbolIndex, services: Callable[[], Iterable[str]]) -> None:
        self._index = index
        self._services = services

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register it under both of its names."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._info,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        for name in REFLECTION_SERVICES:
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {_METHOD: handler}),))

    async def _info(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: _Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        async for request in requests:
            response = self.answer(request)
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            yield response

    def answer(self, request: reflection_pb2.ServerReflectionRequest) -> reflection_pb2.ServerReflectionResponse:
        """Return the answer to one question."""
        index = self._index
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            names = sorted({*self._services(), *REFLECTION_SERVICES})
            listed = [reflection_pb2.ServiceResponse(name=name) for name in names]
            return reflection_pb2.ServerReflectionResponse(
                list_services_response=reflection_pb2.ListServiceResponse(service=listed)
            )
        if kind == "file_by_filename":
            return _files(index.file_named(request.file_by_filename), f"file {request.file_by_filename[:200]!r}")
        if kind == "file_containing_symbol":
            symbol = request.file_containing_symbol
            return _files(index.file_with(symbol), f"symbol {symbol[:200]!r}")
        if kind == "file_containing_extension":
            asked = request.file_containing_extension
            what = f"extension {asked.extension_number} of {asked.containing_type[:200]!r}"
            return _files(index.file_with_extension(asked.containing_type, asked.extension_number), what)
        if kind == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            numbers = index.extension_numbers(name)
            if numbers is None:
                return _refused(grpc.StatusCode.NOT_FOUND, f"no message {name[:200]!r} here")
            return reflection_pb2.ServerReflectionResponse(
                all_extension_numbers_response=reflection_pb2.ExtensionNumberResponse(
                    base_type_name=name, extension_number=numbers
                )
            )
        return _refused(grpc.StatusCode.INVALID_ARGUMENT, "the request asks for nothing; set one of its fields")


def loaded_files(
    services: Iterable[str], *, also: Iterable[descriptor.FileDescriptor] = ()
) -> list[descriptor_pb2.FileDescriptorProto]:
    """Return the files that define these services, and others, with their imports, from this process's descriptors.

    A service whose contract is not loaded has none.
    """
    pool = descriptor_pool.Default()
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    todo = list(also)
    for service in services:
        try:
            todo.append(pool.FindServiceByName(service).file)
        except KeyError:
            continue
    while todo:
        file = todo.pop()
        if file.name not in found:
            proto = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(proto)
            found[file.name] = proto
            todo += file.dependencies
    return list(found.values())


def _files(files: list[bytes], what: str) -> reflection_pb2.ServerReflectionResponse:
    if not files:
        return _refused(grpc.StatusCode.NOT_FOUND, f"no {what} here; list the services to see what there is")
    return reflection_pb2.ServerReflectionResponse(
        file_descriptor_response=reflection_pb2.FileDescriptorResponse(file_descriptor_proto=files)
    )


def _refused(code: grpc.StatusCode, message: str) -> reflection_pb2.ServerReflectionResponse:
    return reflection_pb2.ServerReflectionResponse(
        error_response=reflection_pb2.ErrorResponse(error_code=code.value[0], error_message=message)
    )


def _symbols(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    scope = f"{file.package}." if file.package else ""
    for message in file.message_type:
        yield from _message_symbols(scope, message)
    for enum in file.enum_type:
        yield from _enum_symbols(scope, enum)
    for extension in file.extension:
        yield scope + extension.name
    for service in file.service:
        yield scope + service.name
        yield from (f"{scope}{service.name}.{method.name}" for method in service.method)


def _message_symbols(scope: str, message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
    name = scope + message.name
    yield name
    yield from (f"{name}.{field.name}" for field in (*message.field, *message.extension))
    yield from (f"{name}.{oneof.name}" for oneof in message.oneof_decl)
    for enum in message.enum_type:
        yield from _enum_symbols(f"{name}.", enum)
    for nested in message.nested_type:
        yield from _message_symbols(f"{name}.", nested)


def _enum_symbols(scope: str, enum: descriptor_pb2.EnumDescriptorProto) -> Iterator[str]:
    yield scope + enum.name
    for value in enum.value:
        # Protobuf's names of values are siblings of their enum; people also write them below it.
        yield scope + value.name
        yield f"{scope}{enum.name}.{value.name}"


def _extensions(file: descriptor_pb2.FileDescriptorProto) -> Iterator[descriptor_pb2.FieldDescriptorProto]:
    yield from file.extension
    todo = list(file.message_type)
    while todo:
        message = todo.pop()
        yield from message.extension
        todo += message.nested_type


def _reflection_files() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    v1alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(v1alpha)
    yield v1alpha
    v1 = descriptor_pb2.FileDescriptorProto()
    v1.CopyFrom(v1alpha)
    v1.name, v1.package = "grpc/reflection/v1/reflection.proto", _V1
    v1.options.Clear()
    for message in v1.message_type:
        for field in message.field:
            if field.type == _MESSAGE_FIELD:
                field.type_name = _renamed(field.type_name)
    for service in v1.service:
        for method in service.method:
            method.input_type, method.output_type = _renamed(method.input_type), _renamed(method.output_type)
    yield v1


def _renamed(type_name: str) -> str:
    return type_name.replace(f".{_V1ALPHA}.", f".{_V1}.")
