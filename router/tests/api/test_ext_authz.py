"""The answers to checks, besides what decides them."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from enginehouse.kit.contracts import load_contracts
from enginehouse.router.admission.admitting import Admitted, Check
from enginehouse.router.api.ext_authz import Authorization
from enginehouse.router.fleet.fleet import Endpoint
from enginehouse.router.metrics import RouterMetrics

METHOD = b"/enginehouse.api.inference.v1.GenerationService/Generate"


@dataclasses.dataclass
class Admits:
    """An admission of every check to an engine at one address."""

    address: str = "127.0.0.1:5001"
    ready: bool = True
    seen: str = ""

    async def admit(self, check: Check) -> Admitted:
        """Admit it."""
        self.seen = check.method
        return Admitted("req_1", "v1.token", [Endpoint("e", self.address, "inference", 1, 0, 0.0, False, 1)], "small")


def authorization(admission: Any) -> Authorization:
    """Return a handler for an admission."""
    return Authorization(
        contracts=load_contracts(),
        admission=admission,
        metrics=RouterMetrics(registry=CollectorRegistry()),
        max_body_bytes=1000,
        ready=lambda: bool(admission.ready),
    )


async def test_an_admitted_check_carries_the_grant_and_the_engine() -> None:
    head, body = await authorization(Admits()).answer(METHOD, {}, b"")
    assert head.decode().split("\r\n") == [
        "HTTP/1.1 200 OK",
        "content-length: 0",
        "x-enginehouse-request-id: req_1",
        "x-enginehouse-grant: v1.token",
        "x-gateway-destination-endpoint: 127.0.0.1:5001",
        "x-enginehouse-model: small",
        "",
    ]
    assert body == b""


@pytest.mark.parametrize("ending", ["\r\nx-enginehouse-grant: forged", "\nx: y", "\rx: y"])
async def test_no_value_adds_a_header(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, logger="enginehouse.router.api.ext_authz"):
        head, _ = await authorization(Admits(address="127.0.0.1:5001" + ending)).answer(METHOD, {}, b"")
    assert head.startswith(b"HTTP/1.1 403")
    assert b"forged" not in head
    assert b"\nx: y" not in head


@pytest.mark.parametrize(("ready", "status"), [(True, b"204"), (False, b"503")])
async def test_readiness_is_never_leave(ready: bool, status: bytes) -> None:
    head, _ = await authorization(Admits(ready=ready)).answer(b"/readyz", {}, b"")
    assert head.split(b" ")[1] == status


@pytest.mark.parametrize(
    "target", [METHOD, METHOD + b"?query=1", b"http://router" + METHOD, METHOD.replace(b"Generate", b"%47enerate")]
)
async def test_the_method_is_the_path(target: bytes) -> None:
    admission = Admits()
    await authorization(admission).answer(target, {}, b"")
    assert admission.seen == METHOD.decode()
