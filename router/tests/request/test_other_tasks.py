"""Tasks that the router does not know: bounded by what their contract, their caller and the catalog say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api import httpbody_pb2
from google.protobuf import descriptor_pb2

from enginehouse.api.common.v1.usage_pb2 import UNIT_GPU_MILLISECONDS
from enginehouse.api.options.v1 import options_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.contracts import Contracts, load_contracts, read_contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import Unit
from enginehouse.router.prices import UNBOUNDED_NANOS, Offer
from enginehouse.router.request import InferenceRequest, parse_request

SERVICE = "/acme.render.v1.RenderService/"
Field = descriptor_pb2.FieldDescriptorProto


@pytest.fixture(scope="module")
def contracts() -> Contracts:
    """Ours, and one with a task of its own in each form that a request can have."""
    files = descriptor_pb2.FileDescriptorSet.FromString(load_contracts().files.SerializeToString())
    render = descriptor_pb2.FileDescriptorSet()
    render.file.extend(files.file)
    file = render.file.add(name="acme/render.proto", package="acme.render.v1", syntax="proto3")
    file.dependency.append("google/api/httpbody.proto")
    size = file.message_type.add(name="Size")
    size.field.add(name="frames", number=1, type=Field.TYPE_UINT32, label=Field.LABEL_OPTIONAL)
    request = file.message_type.add(name="RenderRequest")
    request.field.add(name="engine", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    request.field.add(
        name="size", number=2, type=Field.TYPE_MESSAGE, type_name=".acme.render.v1.Size", label=Field.LABEL_OPTIONAL
    )
    request.field.add(name="request_id", number=3, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    service = file.service.add(name="RenderService")
    for name, kind, streams in (
        ("Render", ".acme.render.v1.RenderRequest", False),
        ("RenderJson", ".google.api.HttpBody", False),
        ("RenderStream", ".acme.render.v1.RenderRequest", True),
    ):
        method = service.method.add(name=name, input_type=kind, client_streaming=streams)
        method.output_type = ".google.api.HttpBody"
        options = method.options.Extensions[options_pb2.method]
        options.task = "render"
        options.model_field = "engine"
        options.units.add(name="frames", max_field="size.frames", default_max=24)
    return read_contracts([("enginehouse.api", files.SerializeToString()), ("acme", render.SerializeToString())])


def typed(contracts: Contracts, **fields: Any) -> InferenceRequest:
    kind = contracts.request_class(contracts.methods[f"{SERVICE}Render"])
    headers = fields.pop("headers", {})
    return parse_request(contracts, f"{SERVICE}Render", frame(kind(**fields).SerializeToString()), headers=headers)


def raw(contracts: Contracts, data: bytes, content_type: str = "application/json") -> InferenceRequest:
    body = httpbody_pb2.HttpBody(content_type=content_type, data=data)
    return parse_request(contracts, f"{SERVICE}RenderJson", frame(body.SerializeToString()))


def frame(data: bytes) -> bytes:
    return b"\0" + len(data).to_bytes(4, "big") + data


def offer(prices: dict[Unit, int], max_units: dict[Unit, int] | None = None) -> Offer:
    return Offer.of(
        CatalogModel(
            name="m", cluster="render", backend="x", source="x:x", context_tokens=0, max_output_tokens=0,
            capabilities=frozenset({"render"}), quality=0.5, prices=prices, max_units=max_units or {}, options={},
        )
    )  # fmt: skip


def test_model_units_and_id_are_read_from_the_fields_that_the_options_name(contracts: Contracts) -> None:
    request = typed(contracts, engine="m", size={"frames": 7}, request_id="r")
    assert (request.task, request.model, request.request_id) == ("render", "m", "r")
    assert (request.units, request.capabilities) == ({"frames": 7}, {"render"})
    request = raw(contracts, json.dumps({"engine": "m", "size": {"frames": 7}}).encode())
    assert (request.model, request.units) == ("m", {"frames": 7})
    form = b'--b\r\nContent-Disposition: form-data; name="engine"\r\n\r\nm\r\n' + (
        b'--b\r\nContent-Disposition: form-data; name="size.frames"\r\n\r\n7\r\n--b--\r\n'
    )
    request = raw(contracts, form, "multipart/form-data; boundary=b")
    assert (request.model, request.units) == ("m", {"frames": 7})


def test_where_the_body_is_not_read_the_headers_say_it(contracts: Contracts) -> None:
    headers = {b"x-enginehouse-ask-model": b"m", b"x-enginehouse-max-frames": b"9"}
    request = parse_request(contracts, f"{SERVICE}RenderStream", b"", headers=headers)
    assert (request.model, request.units) == ("m", {"frames": 9})
    request = parse_request(contracts, f"{SERVICE}RenderStream", b"")
    assert (request.model, request.units) == ("auto", {"frames": 24})


def test_a_typed_request_without_a_model_leaves_the_choice_and_a_raw_one_is_refused(contracts: Contracts) -> None:
    assert typed(contracts).model == "auto"
    with pytest.raises(ServiceError, match="engine: name a model") as refused:
        raw(contracts, b"{}")
    assert refused.value.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize("frames", [0, -1, 1.5, "many", None, True, [7]])
def test_what_is_no_amount_is_the_default(contracts: Contracts, frames: object) -> None:
    assert raw(contracts, json.dumps({"engine": "m", "size": {"frames": frames}}).encode()).units == {"frames": 24}


def test_the_bound_is_the_lower_of_the_requests_and_the_models(contracts: Contracts) -> None:
    seven, default = typed(contracts, size={"frames": 7}), typed(contracts)
    priced = offer({"frames": 2_000_000})
    assert (priced.bound_nanos(seven), priced.bound_nanos(default)) == (14, 48)
    limited = offer({"frames": 2_000_000}, {"frames": 5})
    assert (limited.bound_nanos(seven), limited.bound_nanos(default)) == (10, 10)
    both = offer({"frames": 2_000_000, UNIT_GPU_MILLISECONDS: 1_000_000}, {UNIT_GPU_MILLISECONDS: 100})
    assert both.bound_nanos(seven) == 114


def test_a_unit_with_a_price_and_no_bound_leaves_the_request_unbounded(contracts: Contracts) -> None:
    request = typed(contracts, size={"frames": 7})
    assert offer({"frames": 1, UNIT_GPU_MILLISECONDS: 1}).bound_nanos(request) == UNBOUNDED_NANOS
    assert offer({"frames": 1, UNIT_GPU_MILLISECONDS: 0}).bound_nanos(request) == 1


def test_a_known_task_with_a_message_of_ones_own_is_bounded_by_its_options(contracts: Contracts) -> None:
    files = descriptor_pb2.FileDescriptorSet.FromString(contracts.files.SerializeToString())
    file = next(file for file in files.file if file.name == "acme/render.proto")
    file.service[0].method[0].options.Extensions[options_pb2.method].task = "generate"
    ours = load_contracts().files.SerializeToString()
    changed = read_contracts([("enginehouse.api", ours), ("acme", files.SerializeToString())])
    request = typed(changed, engine="m", size={"frames": 7})
    assert (request.task, request.any_unit, request.units) == ("generate", True, {"frames": 7})
    assert offer({"frames": 1_000_000}).bound_nanos(request) == 7
