"""The contracts as plain records with their comments, read from a descriptor set that carries source information."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

OURS = "enginehouse."
# Field numbers of the descriptor messages, which are the steps of a comment's path.
FILE_PACKAGE, FILE_MESSAGES, FILE_ENUMS, FILE_SERVICES, FILE_EXTENSIONS = 2, 4, 5, 6, 7
MESSAGE_FIELDS, MESSAGE_MESSAGES, MESSAGE_ENUMS, SERVICE_METHODS, ENUM_VALUES = 2, 3, 4, 2, 2

Comments = dict[tuple[int, ...], str]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A message's field. `type_name` is the full name of a message or enum, empty for scalars."""

    name: str
    number: int
    comment: str
    kind: str
    type_name: str
    repeated: bool
    optional: bool
    oneof: str


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message by its full name, without a leading dot."""

    name: str
    comment: str
    fields: Sequence[Field]


@dataclass(frozen=True, kw_only=True)
class EnumValue:
    """A value of an enum."""

    name: str
    number: int
    comment: str


@dataclass(frozen=True, kw_only=True)
class Enum:
    """An enum by its full name."""

    name: str
    comment: str
    values: Sequence[EnumValue]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A call. `verb` and `path` are empty where it has no HTTP form; `body` is "*", a field's name or empty."""

    name: str
    comment: str
    request: str
    response: str
    client_streaming: bool
    server_streaming: bool
    verb: str
    path: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service by its full name."""

    name: str
    comment: str
    methods: Sequence[Method]


@dataclass(frozen=True, kw_only=True)
class Extension:
    """An option that the package adds to a message of `google.protobuf`, such as `MethodOptions`."""

    name: str
    number: int
    comment: str
    extends: str
    type_name: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package: its comment, and all that it holds, in the order of its files."""

    name: str
    comment: str
    extensions: Sequence[Extension]
    services: Sequence[Service]
    messages: Sequence[Message]
    enums: Sequence[Enum]


def read_packages(image: bytes) -> list[Package]:
    """Return our packages, by name, from a serialised FileDescriptorSet."""
    # Held by name so that the annotations' extension is registered before it is read.
    assert annotations_pb2.DESCRIPTOR.name
    files = descriptor_pb2.FileDescriptorSet.FromString(image).file
    names = sorted({file.package for file in files if file.package.startswith(OURS)})
    return [_package(name, [file for file in files if file.package == name]) for name in names]


def _package(name: str, files: list[descriptor_pb2.FileDescriptorProto]) -> Package:
    comments = [_comments(file) for file in files]
    extensions: list[Extension] = []
    services: list[Service] = []
    messages: list[Message] = []
    enums: list[Enum] = []
    for file, said in zip(files, comments, strict=True):
        for index, extension in enumerate(file.extension):
            extensions.append(
                Extension(
                    name=f"{name}.{extension.name}",
                    number=extension.number,
                    comment=said.get((FILE_EXTENSIONS, index), ""),
                    extends=extension.extendee.lstrip("."),
                    type_name=extension.type_name.lstrip("."),
                )
            )
        for index, service in enumerate(file.service):
            services.append(_service(name, service, said, (FILE_SERVICES, index)))
        for index, enum in enumerate(file.enum_type):
            enums.append(_enum(name, enum, said, (FILE_ENUMS, index)))
        for index, message in enumerate(file.message_type):
            for record in _messages(name, message, said, (FILE_MESSAGES, index)):
                if isinstance(record, Message):
                    messages.append(record)
                else:
                    enums.append(record)
    about = " ".join(said[FILE_PACKAGE,] for said in comments if said.get((FILE_PACKAGE,)))
    return Package(name=name, comment=about, extensions=extensions, services=services, messages=messages, enums=enums)


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Comments:
    return {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
        if location.leading_comments
    }


def _service(
    scope: str, service: descriptor_pb2.ServiceDescriptorProto, said: Comments, path: tuple[int, ...]
) -> Service:
    methods = []
    for index, method in enumerate(service.method):
        rule = method.options.Extensions[annotations_pb2.http]
        verb = rule.WhichOneof("pattern") or ""
        methods.append(
            Method(
                name=method.name,
                comment=said.get((*path, SERVICE_METHODS, index), ""),
                request=method.input_type.lstrip("."),
                response=method.output_type.lstrip("."),
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
                verb=verb,
                path=getattr(rule, verb) if verb else "",
                body=rule.body,
            )
        )
    return Service(name=f"{scope}.{service.name}", comment=said.get(path, ""), methods=methods)


def _messages(
    scope: str, message: descriptor_pb2.DescriptorProto, said: Comments, path: tuple[int, ...]
) -> Iterator[Message | Enum]:
    name = f"{scope}.{message.name}"
    fields = []
    for index, field in enumerate(message.field):
        in_oneof = field.HasField("oneof_index") and not field.proto3_optional
        fields.append(
            Field(
                name=field.name,
                number=field.number,
                comment=said.get((*path, MESSAGE_FIELDS, index), ""),
                kind=FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower(),
                type_name=field.type_name.lstrip("."),
                repeated=field.label == FieldDescriptorProto.LABEL_REPEATED,
                optional=field.proto3_optional,
                oneof=message.oneof_decl[field.oneof_index].name if in_oneof else "",
            )
        )
    yield Message(name=name, comment=said.get(path, ""), fields=fields)
    for index, enum in enumerate(message.enum_type):
        yield _enum(name, enum, said, (*path, MESSAGE_ENUMS, index))
    for index, nested in enumerate(message.nested_type):
        if nested.options.map_entry:
            raise ValueError(f"{name}.{nested.name}: the documents show no maps; use a repeated message")
        yield from _messages(name, nested, said, (*path, MESSAGE_MESSAGES, index))


def _enum(scope: str, enum: descriptor_pb2.EnumDescriptorProto, said: Comments, path: tuple[int, ...]) -> Enum:
    values = [
        EnumValue(name=value.name, number=value.number, comment=said.get((*path, ENUM_VALUES, index), ""))
        for index, value in enumerate(enum.value)
    ]
    return Enum(name=f"{scope}.{enum.name}", comment=said.get(path, ""), values=values)
