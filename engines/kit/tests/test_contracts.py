"""Contracts: what the options say of each method, and contracts of other distributions beside ours."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from enginehouse.api.options.v1 import options_pb2
from enginehouse.kit.config import ConfigError
from enginehouse.kit.contracts import ENTRY_POINTS, Body, Contracts, Exposure, load_contracts, read_contracts

OURS = ("enginehouse.api", load_contracts().files.SerializeToString())
GENERATION = "/enginehouse.api.inference.v1.GenerationService/"
AUDIO = "/enginehouse.api.openai.v1.AudioService/"
VOICE = "/enginehouse.api.voice.v1.VoiceService/"

Method = descriptor_pb2.MethodDescriptorProto
Field = descriptor_pb2.FieldDescriptorProto


def render(change: Callable[[Method], None] = lambda method: None) -> descriptor_pb2.FileDescriptorSet:
    """A contract of another distribution: one service with one method of a task of its own."""
    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="acme/render.proto", package="acme.render.v1", syntax="proto3")
    request = file.message_type.add(name="RenderRequest")
    request.field.add(name="engine", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    request.field.add(name="frames", number=2, type=Field.TYPE_INT32, label=Field.LABEL_OPTIONAL)
    file.message_type.add(name="RenderResponse")
    service = file.service.add(name="RenderService")
    method = service.method.add(name="Render", input_type=".acme.render.v1.RenderRequest")
    method.output_type = ".acme.render.v1.RenderResponse"
    options = method.options.Extensions[options_pb2.method]
    options.task = "render"
    options.model_field = "engine"
    options.units.add(name="frames", max_field="frames", default_max=24)
    method.options.Extensions[annotations_pb2.http].post = "/v1/render"
    change(method)
    return files


def read(*sets: descriptor_pb2.FileDescriptorSet) -> Contracts:
    return read_contracts([OURS, *[(f"other-{place}", files.SerializeToString()) for place, files in enumerate(sets)]])


def test_our_contracts_say_what_was_known_by_heart() -> None:
    contracts = load_contracts()
    assert contracts.tasks == ("generate", "embed", "tokenize", "speak", "transcribe")
    assert contracts.exposed(Exposure.INTERNAL) == (
        "enginehouse.api.gateway.v1.RegistryService",
        "enginehouse.api.router.v1.AnswerService",
        "enginehouse.api.router.v1.UsageService",
    )
    assert "enginehouse.api.openai.v1.ModelsService" in contracts.exposed(Exposure.ROUTER)
    generate = contracts.methods[f"{GENERATION}Generate"]
    assert (generate.task, generate.body, generate.replayable, generate.free) == ("generate", Body.MESSAGE, True, False)
    assert contracts.methods[f"{GENERATION}Tokenize"].free
    assert contracts.methods[f"{GENERATION}ListModels"].task == ""
    translation = contracts.methods[f"{AUDIO}CreateTranslation"]
    assert (translation.task, translation.body, translation.raw) == ("transcribe", Body.MEDIA, True)
    assert translation.capabilities == {"transcription", "translation"}
    assert contracts.methods[f"{VOICE}Converse"].body is Body.HEADERS
    assert contracts.services["enginehouse.api.openai.v1.AudioService"].openai_errors
    assert not contracts.services["enginehouse.api.voice.v1.VoiceService"].openai_errors


def test_every_method_in_which_the_client_streams_is_decided_by_its_headers() -> None:
    for method in load_contracts().methods.values():
        assert not method.client_streaming or method.body is Body.HEADERS


def test_another_distributions_contract_stands_beside_ours() -> None:
    contracts = read(render())
    method = contracts.methods["/acme.render.v1.RenderService/Render"]
    assert (method.task, method.model_field, method.capabilities) == ("render", "engine", {"render"})
    assert [(unit.name, unit.max_field, unit.default_max) for unit in method.units] == [("frames", "frames", 24)]
    assert contracts.units == {"frames"}
    assert contracts.tasks[-1] == "render"
    request = contracts.request_class(method)
    assert request.FromString(b"\x0a\x01m\x10\x07").frames == 7  # type: ignore[attr-defined]
    assert f"{GENERATION}Generate" in contracts.methods


def test_a_contract_that_imports_ours_leaves_ours_as_it_is() -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(OURS[1])
    for file in files.file:
        del file.service[:]
    files.file.extend(render().file)
    contracts = read(files)
    assert f"{GENERATION}Generate" in contracts.methods
    assert "/acme.render.v1.RenderService/Render" in contracts.methods


def set_option(**values: object) -> Callable[[Method], None]:
    def change(method: Method) -> None:
        options = method.options.Extensions[options_pb2.method]
        for name, value in values.items():
            setattr(options, name, value)

    return change


def unit(**values: object) -> Callable[[Method], None]:
    def change(method: Method) -> None:
        for name, value in values.items():
            setattr(method.options.Extensions[options_pb2.method].units[0], name, value)

    return change


def path(value: str) -> Callable[[Method], None]:
    def change(method: Method) -> None:
        method.options.Extensions[annotations_pb2.http].post = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_option(task="Render!"), "other-0: acme.render.v1.RenderService/Render: task: 'Render!' must be 1-64"),
        (set_option(task=""), "task: is missing"),
        (set_option(model_field="modell"), "model_field: 'modell' is no string of acme.render.v1.RenderRequest"),
        (set_option(model_field="frames"), "model_field: 'frames' is no string"),
        (set_option(body=9), "body: 9 is of a newer version"),
        (unit(name="Frames"), "'Frames' must be 1-63"),
        (unit(max_field="frame"), "max_field: 'frame' is no whole number"),
        (unit(max_field="engine"), "max_field: 'engine' is no whole number"),
        (unit(default_max=-1), "default_max of 'frames' is negative"),
        (path("/v1/chat/completions"), "POST /v1/chat/completions is already that of /enginehouse"),
    ],
)
def test_a_contract_that_contradicts_itself_or_ours_is_refused(change: Callable[[Method], None], message: str) -> None:
    with pytest.raises(ConfigError, match="contract other-0") as caught:
        read(render(change))
    assert message in str(caught.value)


def test_contracts_that_clash_are_refused() -> None:
    with pytest.raises(ConfigError, match="acme/render.proto is also in the contract other-0"):
        read(render(), render())
    renamed = render(path("/v2/render"))
    renamed.file[0].name = "acme/other.proto"
    with pytest.raises(ConfigError, match="RenderService is defined twice"):
        read(render(), renamed)
    ours = render()
    ours.file[0].package = "enginehouse.api.render.v1"
    with pytest.raises(ConfigError, match="is in our package"):
        read(ours)
    served_by_routers = render()
    options = served_by_routers.file[0].service[0].options.Extensions[options_pb2.service]
    options.exposure = options_pb2.EXPOSURE_ROUTER
    with pytest.raises(ConfigError, match="only our own services are served by routers"):
        read(served_by_routers)
    incomplete = render()
    incomplete.file[0].dependency.append("acme/missing.proto")
    with pytest.raises(ConfigError, match=r"a contract is incomplete: .*make descriptors.binpb with --include_imports"):
        read(incomplete)
    with pytest.raises(ConfigError, match="is not a FileDescriptorSet"):
        read_contracts([OURS, ("broken", b"\xff")])


def test_an_entry_point_adds_a_contract(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "acme_render_api"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "descriptors.binpb").write_bytes(render().SerializeToString())
    installed = tmp_path / "acme_render_api-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-render-api\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nrender = acme_render_api\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_contracts().units == {"frames"}
    (package / "descriptors.binpb").unlink()
    with pytest.raises(ConfigError, match=r"contract render: descriptors.binpb of the package 'acme_render_api'"):
        load_contracts()
