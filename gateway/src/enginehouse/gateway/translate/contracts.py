"""What the committed contracts say that the edge must know: paths, services, and which calls stream from the client."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, duration_pb2
from google.rpc import error_details_pb2

# Spoken between our own processes; never routed, whoever claims to serve them.
INTERNAL_SERVICES = frozenset(
    {
        "enginehouse.api.router.v1.UsageService",
        "enginehouse.api.router.v1.AnswerService",
        "enginehouse.api.gateway.v1.RegistryService",
    }
)
OPENAI_PACKAGE = "enginehouse.api.openai."
# Services whose answers the routers keep and give again, at a door of their own.
REPLAYED_SERVICES = frozenset(
    {"enginehouse.api.inference.v1.GenerationService", "enginehouse.api.openai.v1.TextService"}
)
# Services whose requests bring recordings.
MEDIA_SERVICES = frozenset({"enginehouse.api.voice.v1.VoiceService", "enginehouse.api.openai.v1.AudioService"})

_VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, kw_only=True)
class Contracts:
    """The facts, in a form that needs no descriptors any more.

    Attributes:
        descriptor_set: a serialized FileDescriptorSet: the contracts, what they import, and the error details.
        services: full names of the services that clients may call.
        json_services: those of them with HTTP paths.
        openai_paths: regular expressions (RE2, whole path without its query) of OpenAI's endpoints.
        client_streams: gRPC paths of the calls in which the client streams.
    """

    descriptor_set: bytes
    services: tuple[str, ...]
    json_services: tuple[str, ...]
    openai_paths: tuple[str, ...]
    client_streams: tuple[str, ...]


def load_contracts() -> Contracts:
    """Reads the descriptor set that is committed with the stubs."""
    raw = (importlib.resources.files("enginehouse.api") / "descriptors.binpb").read_bytes()
    return read_contracts(descriptor_pb2.FileDescriptorSet.FromString(raw))


def read_contracts(files: descriptor_pb2.FileDescriptorSet) -> Contracts:
    """The facts of a descriptor set with imports."""
    services: list[str] = []
    json_services: list[str] = []
    openai_paths: list[str] = []
    client_streams: list[str] = []
    for file in files.file:
        for service in file.service:
            name = f"{file.package}.{service.name}"
            if name in INTERNAL_SERVICES:
                continue
            services.append(name)
            paths = [path for method in service.method for path in _http_paths(method)]
            if paths:
                json_services.append(name)
            if name.startswith(OPENAI_PACKAGE):
                openai_paths.extend(_pattern(path) for path in paths)
            client_streams.extend(f"/{name}/{method.name}" for method in service.method if method.client_streaming)
    return Contracts(
        descriptor_set=_with_error_details(files).SerializeToString(deterministic=True),
        services=tuple(sorted(services)),
        json_services=tuple(sorted(json_services)),
        openai_paths=tuple(sorted(openai_paths)),
        client_streams=tuple(sorted(client_streams)),
    )


def _http_paths(method: descriptor_pb2.MethodDescriptorProto) -> Iterator[str]:
    if not method.options.HasExtension(annotations_pb2.http):
        return
    rule = method.options.Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        for verb in _VERBS:
            if getattr(binding, verb):
                yield getattr(binding, verb)
        if binding.HasField("custom"):
            yield binding.custom.path


def _pattern(template: str) -> str:
    """A path template such as `/v1/models/{model}` as a regular expression."""
    pieces = re.split(r"(\{[^}]*\})", template)
    return "".join("[^/]+" if piece.startswith("{") else re.escape(piece) for piece in pieces)


def _with_error_details(files: descriptor_pb2.FileDescriptorSet) -> descriptor_pb2.FileDescriptorSet:
    # Errors carry these inside Any, which no contract imports: without them the edge could not print them.
    known = {file.name for file in files.file}
    merged = descriptor_pb2.FileDescriptorSet()
    merged.CopyFrom(files)
    for module in (duration_pb2, error_details_pb2):
        if module.DESCRIPTOR.name not in known:
            module.DESCRIPTOR.CopyToProto(merged.file.add())
    return merged
