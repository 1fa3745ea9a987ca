"""A contract of another distribution in a real router: its task, its unit and its money."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2

from enginehouse.api.common.v1 import usage_pb2 as common_pb2
from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.options.v1 import options_pb2
from enginehouse.api.router.v1 import admin_pb2 as pb
from enginehouse.api.router.v1 import admin_pb2_grpc, usage_pb2
from enginehouse.kit.contracts import Contracts, load_contracts, read_contracts
from enginehouse.kit.grants import peek
from enginehouse.kit.pricing import prices_of, unit_of
from router.tests.harness.engine_reports import EngineReports
from router.tests.harness.registry import RegistryServer
from router.tests.harness.router_process import RouterFactory, RouterProcess
from router.tests.harness.waiting import wait_until

RENDER = "/acme.render.v1.RenderService/Render"
PREVIEW = "/acme.render.v1.RenderService/Preview"
GPU = common_pb2.UNIT_GPU_MILLISECONDS
CATALOG = """
  - {name: film, cluster: render, backend: x, source: "x:x", capabilities: [render], prices: {frames: 2000000}}
  - {name: lab, cluster: render, backend: x, source: "x:x", capabilities: [render],
     prices: {frames: 2000000, gpu_milliseconds: 1000000}}
"""


@pytest.fixture
def contracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contracts:
    """Ours and one of another distribution, installed for the processes that start here."""
    render = descriptor_pb2.FileDescriptorSet()
    file = render.file.add(name="acme/render.proto", package="acme.render.v1", syntax="proto3")
    request = file.message_type.add(name="RenderRequest")
    for number, (name, kind) in enumerate([("model", "TYPE_STRING"), ("frames", "TYPE_INT64")], start=1):
        request.field.add(name=name, number=number, type=getattr(descriptor_pb2.FieldDescriptorProto, kind), label=1)
    service = file.service.add(name="RenderService")
    for name in ("Render", "Preview"):
        method = service.method.add(name=name, input_type=".acme.render.v1.RenderRequest")
        method.output_type = ".acme.render.v1.RenderRequest"
        options = method.options.Extensions[options_pb2.method]
        options.task = "render"
        options.free = name == "Preview"
        options.units.add(name="frames", max_field="frames", default_max=24)
        options.units.add(name="passes", default_max=3)
    package, installed = tmp_path / "site" / "acme_render_api", tmp_path / "site" / "acme_render_api-1.0.dist-info"
    for folder in (package, installed):
        folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "descriptors.binpb").write_bytes(render.SerializeToString())
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-render-api\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[enginehouse.contracts]\nrender = acme_render_api\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    ours = load_contracts().files.SerializeToString()
    return read_contracts([("enginehouse.api", ours), ("render", render.SerializeToString())])


@pytest.fixture
async def router(contracts: Contracts, make_router: RouterFactory, registry: RegistryServer) -> RouterProcess:
    """A router that found the contract at its start, and a live engine that serves it."""
    made = make_router()
    with (made.directory / "catalog.yaml").open("a") as catalog:
        catalog.write(CATALOG)
    engine = registry_pb2.Engine(
        engine_id="render-1",
        cluster="render",
        address="127.0.0.1:5009",
        grpc_services=["acme.render.v1.RenderService"],
        models=[registry_pb2.ServedModel(name=name) for name in ("film", "lab")],
        capacity=4,
    )
    registry.add(registry_pb2.LiveEngine(engine=engine))
    await made.create_first_key()
    made.start()
    await made.ready()

    async def granted() -> int:
        return (await made.check(RENDER, message(contracts, model="film"), made.key)).status_code

    await wait_until(granted, 200)
    return made


def message(contracts: Contracts, **fields: Any) -> Any:
    return contracts.request_class(contracts.methods[RENDER])(**fields)


async def test_its_cost_is_bounded_settled_and_shown_by_the_units_name(
    router: RouterProcess, contracts: Contracts
) -> None:
    checked = await router.check(RENDER, message(contracts, model="film", frames=7), router.key)
    token = checked.headers["x-enginehouse-grant"]
    assert checked.headers["x-gateway-destination-endpoint"] == "127.0.0.1:5009"
    (candidate,) = peek(token).candidates
    # What is free is listed too, because an engine counts no other unit of its own.
    assert (candidate.cap_nanos, prices_of(candidate.prices)) == (14, {"frames": 2_000_000, "passes": 0})
    by_default = await router.check(RENDER, message(contracts, model="auto"), router.key)
    assert peek(by_default.headers["x-enginehouse-grant"]).candidates[0].cap_nanos == 48

    engine = EngineReports(router, engine_id="render-1")
    record = engine.record(token, output=0, model="film", cost=10)
    record.usage.units[0].CopyFrom(common_pb2.UnitAmount(name="frames", amount=5))
    record.usage.units.add(name="passes", amount=2)
    assert (await engine.send(record)).status == usage_pb2.ReportResponse.STATUS_SETTLED
    await engine.close()
    spend = await router.admin(
        router.key, "QuerySpend", pb.QuerySpendRequest(group_by=pb.SPEND_GROUP_MODEL, model="film")
    )
    (row,) = spend.rows
    assert {unit_of(entry): entry.amount for entry in row.usage.units} == {"frames": 5, "passes": 2}
    assert (spend.total_nanos, row.usage.cost_nanos) == (10, 10)
    assert await exported_units(router) == ['{"frames": 5, "passes": 2}']


async def test_without_any_bound_it_needs_the_callers(router: RouterProcess, contracts: Contracts) -> None:
    refused = await router.check(RENDER, message(contracts, model="lab", frames=7), router.key)
    assert refused.status_code == 400
    assert "x-enginehouse-max-cost-nanos" in refused.headers["grpc-message"]
    capped = await router.check(
        RENDER, message(contracts, model="lab", frames=7), router.key, x_enginehouse_max_cost_nanos="500"
    )
    (candidate,) = peek(capped.headers["x-enginehouse-grant"]).candidates
    assert (candidate.cap_nanos, prices_of(candidate.prices)[GPU]) == (500, 1_000_000)


async def test_what_is_free_sets_nothing_aside(router: RouterProcess, contracts: Contracts) -> None:
    checked = await router.check(PREVIEW, message(contracts, model="lab"), router.key)
    grant = peek(checked.headers["x-enginehouse-grant"])
    assert [(candidate.model, candidate.cap_nanos) for candidate in grant.candidates] == [("lab", 0)]
    assert not grant.funding


async def test_policies_may_name_its_task(router: RouterProcess, contracts: Contracts) -> None:
    found = await router.check(RENDER, message(contracts, model="film"), router.key, x_enginehouse_task="render")
    assert found.status_code == 200
    wrong = await router.check(RENDER, message(contracts, model="film"), router.key, x_enginehouse_task="embed")
    assert "it has the task render" in wrong.headers["grpc-message"]


async def exported_units(router: RouterProcess) -> list[str]:
    method = "/enginehouse.api.router.v1.AdminService/ExportSpend"
    request = pb.ExportSpendRequest(model="film")
    checked = await router.check(method, request, router.key)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{router.grpc}") as channel:
        stub: admin_pb2_grpc.AdminServiceAsyncStub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[assignment]
        metadata = (("x-enginehouse-grant", checked.headers["x-enginehouse-grant"]),)
        parts = [part.data async for part in stub.ExportSpend(request, metadata=metadata)]
    return [line["other_units"] for line in csv.DictReader(io.StringIO(b"".join(parts).decode(), newline=""))]
