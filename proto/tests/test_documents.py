"""The OpenAPI document and the reference page say what the contracts say."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from openapi_spec_validator import OpenAPIV31SpecValidator

from proto.document.contracts import Package, read_packages
from proto.document.openapi import document
from proto.document.reference import page

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def openapi() -> dict[str, object]:
    """The committed document, which `make check` holds in step with the contracts."""
    read: dict[str, object] = json.loads((ROOT / "docs" / "openapi.json").read_text())
    return read


@pytest.fixture(scope="module")
def contracts() -> descriptor_pb2.FileDescriptorSet:
    assert annotations_pb2.DESCRIPTOR.name
    path = ROOT / "proto/python/src/enginehouse/api/descriptors.binpb"
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())


def sample(*, verb: str = "post", path: str = "/v1/things/{name}:turn", second: str = "") -> list[Package]:
    """A small contract with one of everything."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="enginehouse.api.thing.v1", syntax="proto3")
    request = file.message_type.add(name="TurnRequest")
    kinds = descriptor_pb2.FieldDescriptorProto
    request.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    request.field.add(name="angle_nanos", number=2, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    request.field.add(name="tags", number=3, type=kinds.TYPE_STRING, label=kinds.LABEL_REPEATED)
    file.message_type.add(name="TurnResponse")
    service = file.service.add(name="ThingService")
    for index, name in enumerate(["Turn", *([second] if second else [])]):
        method = service.method.add(name=name)
        method.input_type = ".enginehouse.api.thing.v1.TurnRequest"
        method.output_type = ".enginehouse.api.thing.v1.TurnResponse"
        rule = method.options.Extensions[annotations_pb2.http]
        setattr(rule, verb, path)
        if verb == "post":
            rule.body = "*"
        file.source_code_info.location.add(path=[6, 0, 2, index], leading_comments=" Turns it.\n Slowly | well.\n")
    return read_packages(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())


def test_the_descriptors_describe_what_errors_carry(contracts: descriptor_pb2.FileDescriptorSet) -> None:
    messages = {f"{file.package}.{message.name}" for file in contracts.file for message in file.message_type}
    carried = {"ErrorInfo", "BadRequest", "RetryInfo"}
    assert {"google.rpc.Status", *(f"google.rpc.{name}" for name in carried)} <= messages


def test_the_document_is_valid_openapi(openapi: dict[str, object]) -> None:
    OpenAPIV31SpecValidator(openapi).validate()  # type: ignore[arg-type]


def test_every_http_rule_has_its_operation(
    openapi: dict[str, object], contracts: descriptor_pb2.FileDescriptorSet
) -> None:
    declared = set()
    for file in contracts.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                if verb := rule.WhichOneof("pattern"):
                    declared.add((verb, re.sub(r"{[\w.]*?(\w+)}", r"{\1}", getattr(rule, verb))))
    described = {(verb, path) for path, verbs in openapi["paths"].items() for verb in verbs}  # type: ignore[attr-defined]
    assert described == declared
    assert ("post", "/v1/chat/completions") in described


def test_the_openai_edge_is_raw_json_and_events(openapi: dict[str, object]) -> None:
    chat = openapi["paths"]["/v1/chat/completions"]["post"]  # type: ignore[index]
    assert list(chat["requestBody"]["content"]) == ["application/json"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    error = chat["responses"]["default"]["content"]["application/json"]["schema"]["$ref"]
    assert error == "#/components/schemas/OpenAIError"


def test_every_answer_is_typed(openapi: dict[str, object]) -> None:
    for path, verbs in openapi["paths"].items():  # type: ignore[attr-defined]
        assert all(name.isidentifier() for name in re.findall(r"{([^}]*)}", path))
        for verb, operation in verbs.items():
            for answer in operation["responses"].values():
                for kind, content in answer["content"].items():
                    schema = content["schema"]
                    assert schema.get("$ref") or schema.get("type") == "string", (verb, path, kind)
            named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
            assert named == set(re.findall(r"{([^}]*)}", path))


def test_media_and_streams_are_described(openapi: dict[str, object]) -> None:
    paths: Any = openapi["paths"]
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        operation = paths[path]["post"]
        assert list(operation["requestBody"]["content"]) == ["multipart/form-data"]
        assert {"application/json", "text/vtt", "text/event-stream"} <= set(operation["responses"]["200"]["content"])
    speech = paths["/v1/audio/speech"]["post"]["responses"]["200"]["content"]
    assert {"audio/mpeg", "audio/wav", "text/event-stream"} <= set(speech)
    chunk = paths["/v1/chat/completions"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    assert chunk["schema"]["$ref"] == "#/components/schemas/ChatCompletionChunk"


def test_the_page_names_every_message_and_its_links_lead_somewhere(
    contracts: descriptor_pb2.FileDescriptorSet,
) -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = [re.sub(r"[^a-z0-9_-]", "", heading.lower()) for heading in headings]
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= set(anchors)
    for file in contracts.file:
        if file.package.startswith("enginehouse."):
            area = file.package.removeprefix("enginehouse.api.")
            for message in file.message_type:
                assert f"{area}.{message.name}" in headings


def test_path_parameters_leave_the_query_and_64_bits_are_strings() -> None:
    read = document(sample(verb="get"), version="1")
    operation = read["paths"]["/v1/things/{name}:turn"]["get"]  # type: ignore[index]
    assert [(parameter["name"], parameter["in"], parameter["required"]) for parameter in operation["parameters"]] == [
        ("name", "path", True),
        ("angle_nanos", "query", False),
        ("tags", "query", False),
    ]
    assert operation["parameters"][1]["schema"] == {"type": "string", "format": "int64"}
    assert operation["summary"] == "Turns it"
    assert operation["description"] == "Slowly | well."


def test_two_calls_on_one_path_are_refused() -> None:
    with pytest.raises(ValueError, match="another call's already"):
        document(sample(second="TurnAgain"), version="1")


def test_comments_cannot_break_the_page_s_tables() -> None:
    assert "Slowly \\| well." in page(sample())


def test_a_stale_document_is_found(tmp_path: pathlib.Path) -> None:
    image = tmp_path / "image.binpb"
    image.write_bytes((ROOT / "proto/python/src/enginehouse/api/descriptors.binpb").read_bytes())
    command = [sys.executable, "-m", "proto.document", "--image", str(image), "--docs", str(tmp_path)]
    assert subprocess.run([*command, "--check"], cwd=ROOT, check=False, capture_output=True).returncode == 1
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert subprocess.run([*command, "--check"], cwd=ROOT, check=False).returncode == 0
    (tmp_path / "reference.md").write_text("by hand")
    ran = subprocess.run([*command, "--check"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "docs/reference.md differs" in ran.stderr
