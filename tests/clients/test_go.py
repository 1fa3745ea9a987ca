"""grpcurl and ghz by the mesh's reflection, without a descriptor in their hands."""

from __future__ import annotations

import json

import pytest

from tests.clients.conftest import MODEL, Runs
from tests.mesh import Mesh

pytestmark = pytest.mark.clients

GRPCURL = "tests/clients/grpcurl/bin/grpcurl"
GHZ = "tests/clients/ghz/bin/ghz"
SERVICE = "enginehouse.api.inference.v1.GenerationService"
REQUEST = json.dumps({"model": MODEL, "messages": [{"role": "ROLE_USER", "content": "Hello"}], "maxOutputTokens": 4})


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        (SERVICE, "is a service"),
        (f"{SERVICE}.Generate", "is a method"),
        ("enginehouse.api.inference.v1.Role", "is an enum"),
        ("enginehouse.api.inference.v1.ROLE_USER", "is an enum value"),
        ("enginehouse.api.inference.v1.GenerateRequest.model", "is a field"),
        ("google.rpc.ErrorInfo", "is a message"),
        ("grpc.reflection.v1.ServerReflection", "is a service"),
    ],
)
def test_grpcurl_describes_every_kind_of_symbol(run_client: Runs, mesh: Mesh, symbol: str, told: str) -> None:
    assert told in run_client(GRPCURL, "-plaintext", mesh.target, "describe", symbol)


def test_grpcurl_lists_the_methods_of_every_service(run_client: Runs, mesh: Mesh) -> None:
    services = run_client(GRPCURL, "-plaintext", mesh.target, "list").split()
    assert SERVICE in services
    for service in services:
        assert run_client(GRPCURL, "-plaintext", mesh.target, "list", service).strip(), service


def test_grpcurl_calls_a_streaming_method(run_client: Runs, mesh: Mesh) -> None:
    header = f"authorization: Bearer {mesh.key}"
    said = run_client(GRPCURL, "-plaintext", "-H", header, "-d", REQUEST, mesh.target, f"{SERVICE}/Generate")
    assert '"requestId"' in said


def test_ghz_loads_a_method_without_a_protoset(run_client: Runs, mesh: Mesh) -> None:
    said = run_client(
        GHZ,
        *("--insecure", "--call", f"{SERVICE}.Generate", "--metadata"),
        json.dumps({"authorization": f"Bearer {mesh.key}"}),
        *("-d", REQUEST, "-n", "8", "-c", "2", "--timeout", "60s", "-O", "json", mesh.target),
    )
    assert json.loads(said)["statusCodeDistribution"] == {"OK": 8}
