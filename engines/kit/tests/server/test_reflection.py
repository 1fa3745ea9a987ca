"""Reflection finds every kind of symbol, under both of its names."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import grpc
import pytest
from google.protobuf import descriptor_database, descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection_pb2

from enginehouse.api.inference.v1 import generation_pb2_grpc

Question = reflection_pb2.ServerReflectionRequest
NAME = "enginehouse.api.inference.v1.GenerationService"
VERSIONS = ["v1", "v1alpha"]


class Unserved(generation_pb2_grpc.GenerationServiceServicer):
    pass


async def ask(address: object, version: str, **question: Any) -> reflection_pb2.ServerReflectionResponse:
    async with grpc.aio.insecure_channel(str(address)) as channel:
        method: Any = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=Question.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        [answer] = [answer async for answer in method(iter([Question(host="here", **question)]))]
        assert (answer.valid_host, answer.original_request.host) == ("here", "here")
        return cast("reflection_pb2.ServerReflectionResponse", answer)


def files(answer: reflection_pb2.ServerReflectionResponse) -> list[descriptor_pb2.FileDescriptorProto]:
    read = descriptor_pb2.FileDescriptorProto.FromString
    return [read(file) for file in answer.file_descriptor_response.file_descriptor_proto]


@pytest.fixture
async def engine(serve: Any) -> object:
    _, address = await serve(
        partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, cast("Any", Unserved)())
    )
    return address


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("symbol", "package"),
    [
        (NAME, "enginehouse.api.inference.v1"),
        (f"{NAME}.Generate", "enginehouse.api.inference.v1"),
        ("enginehouse.api.inference.v1.GenerateRequest", "enginehouse.api.inference.v1"),
        ("enginehouse.api.inference.v1.GenerateRequest.max_output_tokens", "enginehouse.api.inference.v1"),
        ("enginehouse.api.inference.v1.ToolChoice.Mode", "enginehouse.api.inference.v1"),
        ("enginehouse.api.inference.v1.ToolChoice.MODE_NONE", "enginehouse.api.inference.v1"),
        ("enginehouse.api.inference.v1.FINISH_REASON_STOP", "enginehouse.api.inference.v1"),
        ("enginehouse.api.inference.v1.FinishReason.FINISH_REASON_STOP", "enginehouse.api.inference.v1"),
        ("enginehouse.api.options.v1.method", "enginehouse.api.options.v1"),
        ("google.rpc.ErrorInfo", "google.rpc"),
        ("google.rpc.Status", "google.rpc"),
        ("grpc.health.v1.Health.Check", "grpc.health.v1"),
        ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "grpc.reflection.v1"),
        ("grpc.reflection.v1alpha.ServerReflection", "grpc.reflection.v1alpha"),
    ],
)
async def test_every_kind_of_symbol_is_found_with_what_it_imports(
    engine: object, version: str, symbol: str, package: str
) -> None:
    found = files(await ask(engine, version, file_containing_symbol=symbol))
    assert found[0].package == package
    # Everything that the file needs came along, so that a client asks once.
    database = descriptor_database.DescriptorDatabase()
    for file in found:
        database.Add(file)
    assert descriptor_pool.DescriptorPool(database).FindFileByName(found[0].name).package == package


@pytest.mark.parametrize("version", VERSIONS)
async def test_services_are_listed_with_reflection_and_health(engine: object, version: str) -> None:
    listed = (await ask(engine, version, list_services="")).list_services_response.service
    assert [service.name for service in listed] == [
        NAME,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    for service in listed:
        assert files(await ask(engine, version, file_containing_symbol=service.name))


async def test_files_and_extensions_are_found(engine: object) -> None:
    named = files(await ask(engine, "v1", file_by_filename="google/rpc/error_details.proto"))
    assert named[0].package == "google.rpc"
    of_methods = "google.protobuf.MethodOptions"
    numbers = (await ask(engine, "v1", all_extension_numbers_of_type=of_methods)).all_extension_numbers_response
    assert numbers.base_type_name == of_methods
    assert 72295728 in numbers.extension_number  # google.api.http
    for number in numbers.extension_number:
        asked = reflection_pb2.ExtensionRequest(containing_type=of_methods, extension_number=number)
        assert files(await ask(engine, "v1", file_containing_extension=asked))


@pytest.mark.parametrize(
    "question",
    [
        {"file_containing_symbol": "enginehouse.api.Nothing"},
        {"file_by_filename": "nothing.proto"},
        {"all_extension_numbers_of_type": "no.Message"},
        {"file_containing_extension": reflection_pb2.ExtensionRequest(containing_type="a.B", extension_number=1)},
    ],
)
async def test_what_is_not_here_is_not_found_and_named(engine: object, question: dict[str, Any]) -> None:
    error = (await ask(engine, "v1", **question)).error_response
    assert error.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert "no " in error.error_message


async def test_an_empty_question_is_refused(engine: object) -> None:
    error = (await ask(engine, "v1")).error_response
    assert error.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
