"""Snapshots: a pure function, with versions that depend on content alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from enginehouse.api.gateway.v1 import registry_pb2
from enginehouse.api.options.v1 import options_pb2
from enginehouse.gateway.config import GatewaySection
from enginehouse.gateway.registry import Lease
from enginehouse.gateway.topology import topology
from enginehouse.gateway.translate.contracts import edge_contracts
from enginehouse.gateway.translate.names import (
    REPLAY_HEADER,
    RESERVED_HEADERS,
    TYPE_CLUSTER,
    TYPE_ENDPOINTS,
    TYPE_LISTENER,
    TYPE_ROUTES,
)
from enginehouse.gateway.translate.snapshot import Snapshot, Topology, Translator
from enginehouse.gateway.translate.unknown_paths import path_pattern
from enginehouse.kit.addresses import Address
from enginehouse.kit.contracts import load_contracts, read_contracts

SECTION: dict[str, Any] = {
    "public_listen": "127.0.0.1:8080",
    "grpc_listen": "127.0.0.1:18000",
    "http_listen": "127.0.0.1:18001",
    "router_http": "127.0.0.1:18010,127.0.0.1:18020",
    "envoy_admin": "127.0.0.1:18002",
    "state_file": "state.json",
}
GENERATION = "enginehouse.api.inference.v1.GenerationService"
ONE, TWO = Address("127.0.0.1", 9001), Address("127.0.0.1", 9002)


def translator(**overrides: Any) -> Translator:
    return Translator(section=GatewaySection(**{**SECTION, **overrides}), contracts=edge_contracts(load_contracts()))


def made(*addresses: Address, services: dict[str, str] | None = None, by: Translator | None = None) -> Snapshot:
    return (by or translator()).snapshot(
        Topology(services=services or {GENERATION: "inference"}, endpoints={"inference": addresses})
    )


def changed(before: Snapshot, after: Snapshot) -> set[str]:
    return {kind for kind in before.versions if before.versions[kind] != after.versions[kind]}


def test_equal_topologies_give_equal_versions_in_any_process_and_order() -> None:
    assert made(ONE, TWO) == made(TWO, ONE)
    once = translator()
    assert made(ONE, by=once) == made(ONE, by=once)


def test_only_what_changed_has_a_new_version() -> None:
    by = translator()
    before = made(ONE, by=by)
    assert changed(before, made(ONE, TWO, by=by)) == {TYPE_ENDPOINTS}
    assert changed(before, made(by=by)) == {TYPE_ENDPOINTS}
    assert changed(before, made(ONE, services={GENERATION: "inference", "a.b.C": "inference"}, by=by)) == {TYPE_ROUTES}
    assert changed(before, made(ONE, by=translator(edge={"max_request_bytes": 1 << 20}))) == {TYPE_LISTENER}
    assert changed(before, made(ONE, by=translator(otlp_endpoint="127.0.0.1:4317"))) == {TYPE_CLUSTER, TYPE_LISTENER}


def test_a_cluster_without_engines_stays() -> None:
    snapshot = made()
    assert list(snapshot.resources[TYPE_CLUSTER]) == ["inference"]
    empty = ClusterLoadAssignment.parse(snapshot.resources[TYPE_ENDPOINTS]["inference"])
    assert [group.lb_endpoints for group in empty.endpoints] == [[]]


def test_routes_lead_from_services_to_clusters() -> None:
    routes = RouteConfiguration.parse(made(ONE, services={GENERATION: "inference"}).resources[TYPE_ROUTES]["public"])
    by_prefix = {
        route.match.prefix: route.route.cluster
        for route in routes.virtual_hosts[0].routes
        if route.match is not None and route.route is not None
    }
    assert by_prefix[f"/{GENERATION}/"] == "inference"
    assert by_prefix["/"] == "enginehouse_none"
    assert by_prefix["/enginehouse.api.router.v1.AdminService/"] == "enginehouse_none"
    assert "/enginehouse.api.router.v1.UsageService/" not in by_prefix


def test_a_kept_answer_leads_to_the_routers_and_the_header_that_says_so_is_no_clients() -> None:
    snapshot = made(ONE, services={GENERATION: "inference", "a.b.C": "other"})
    routes = RouteConfiguration.parse(snapshot.resources[TYPE_ROUTES]["public"]).virtual_hosts[0].routes
    first = next(route for route in routes if route.match and route.match.prefix == f"/{GENERATION}/")
    assert first.match is not None
    assert first.route is not None
    assert [header.name for header in first.match.headers] == [REPLAY_HEADER]
    assert first.route.cluster == "router"
    other = next(route for route in routes if route.match and route.match.prefix == "/a.b.C/")
    assert other.route is not None
    assert other.route.cluster == "other"
    assert REPLAY_HEADER in RESERVED_HEADERS


def one_service(service: descriptor_pb2.ServiceDescriptorProto) -> descriptor_pb2.FileDescriptorSet:
    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="a.proto", package="a.v1")
    file.message_type.add(name="Turn")
    file.service.append(service)
    return files


def test_calls_that_clients_stream_are_not_collected_before_the_decision() -> None:
    service = descriptor_pb2.ServiceDescriptorProto(name="Voice")
    types = {"input_type": ".a.v1.Turn", "output_type": ".a.v1.Turn"}
    service.method.add(name="Converse", client_streaming=True, server_streaming=True, **types)
    service.method.add(name="List", **types)
    files = one_service(service)
    contracts = edge_contracts(read_contracts([("voice", files.SerializeToString())]))
    assert contracts.header_methods == ("/a.v1.Voice/Converse",)
    by = Translator(section=GatewaySection(**SECTION), contracts=contracts)
    snapshot = by.snapshot(Topology(services={"a.v1.Voice": "voice"}, endpoints={"voice": (ONE,)}))
    routes = RouteConfiguration.parse(snapshot.resources[TYPE_ROUTES]["public"]).virtual_hosts[0].routes
    converse = [route for route in routes if route.match and route.match.path == "/a.v1.Voice/Converse"]
    assert converse
    assert all("envoy.filters.http.ext_authz" in route.typed_per_filter_config for route in converse)


def test_the_contracts_say_what_the_edge_needs() -> None:
    contracts = edge_contracts(load_contracts())
    assert GENERATION in contracts.json_services
    assert {"/v1/chat/completions", "/v1/models/[^/]+"} <= {path_pattern(path) for _, path in contracts.openai_methods}
    assert "enginehouse.api.router.v1.UsageService" not in contracts.services
    files = descriptor_pb2.FileDescriptorSet.FromString(contracts.descriptor_set)
    assert "google/rpc/error_details.proto" in [file.name for file in files.file]


def test_additional_bindings_count() -> None:
    service = descriptor_pb2.ServiceDescriptorProto(name="X")
    method = service.method.add(name="M", input_type=".a.v1.Turn", output_type=".a.v1.Turn")
    rule = method.options.Extensions[annotations_pb2.http]
    rule.get = "/v1/a/{b=c/*}"
    rule.additional_bindings.add(post="/v1/a")
    service.options.Extensions[options_pb2.service].error_format = options_pb2.ERROR_FORMAT_OPENAI
    files = one_service(service)
    contracts = edge_contracts(read_contracts([("x", files.SerializeToString())]))
    assert contracts.openai_methods == (("get", "/v1/a/{b=c/*}"), ("post", "/v1/a"))
    assert contracts.own_methods == ()


async def test_engines_that_drain_take_nothing_new() -> None:
    def lease(port: int, **load: Any) -> Lease:
        engine = registry_pb2.Engine(engine_id=str(port), cluster="inference", address=f"127.0.0.1:{port}")
        return Lease(engine=engine, load=registry_pb2.Load(**load), expires_at=0, ended=asyncio.Event())

    found = topology([lease(9001), lease(9002, draining=True), lease(9003, active=7)], {"a.b.C": "voice"})
    assert found.endpoints == {"voice": (), "inference": (ONE, Address("127.0.0.1", 9003))}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"router_http": ""}, "give at least one"),
        ({"router_http": "router:80"}, "give the routers' IP addresses"),
        ({"public_listen": "127.0.0.1:0"}, "port 0 cannot be connected to"),
        ({"edge": {"tls_key_file": "key.pem"}}, "set both or neither"),
        ({"edge": {"max_request_bytes": 1}}, "greater than or equal to 1024"),
        ({"lease_s": 0}, "greater than or equal to 1"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatewaySection(**{**SECTION, **overrides})
