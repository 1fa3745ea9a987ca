"""Ports: conflicts, and blocks that two meshes never share."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from enginehouse.kit.addresses import Address
from enginehouse.local.endpoints import PortBlock, check_free
from enginehouse.local.errors import LocalError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        yield holder.getsockname()[1]


def test_a_used_port_is_refused_with_its_process_and_another_port(taken: int) -> None:
    with pytest.raises(LocalError, match=rf"port {taken} is in use by .*pid {os.getpid()}.*--port \d+"):
        check_free(Address("127.0.0.1", taken))


def test_a_port_that_was_just_released_is_free(taken: int) -> None:
    with socket.create_connection(("127.0.0.1", taken)):
        pass
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    check_free(Address("127.0.0.1", port))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(LocalError, match="choose an address of this machine"):
        check_free(Address("192.0.2.1", 18080))


def test_two_meshes_share_no_port() -> None:
    first, second = PortBlock(), PortBlock()
    try:
        endpoints = [
            block.endpoints(Address("127.0.0.1", 8080), engines={"text": 2}, router_replicas=2)
            for block in (first, second)
        ]
    finally:
        first.close()
        second.close()
    ports = []
    for mesh in endpoints:
        ports += [mesh.gateway_grpc, mesh.gateway_http, mesh.envoy_admin]
        ports += [address for router in mesh.routers for address in (router.decisions, router.grpc, router.http)]
        ports += [address for engine in mesh.engines["text"] for address in (engine.grpc, engine.http)]
    assert len(ports) == len(set(ports)) == 26


def test_a_used_port_of_the_block_is_skipped() -> None:
    block = PortBlock()
    try:
        first = block.endpoints(Address("127.0.0.1", 8080), engines={"text": 0}).gateway_grpc
        with socket.socket() as holder:
            # Connections of an earlier mesh may still be in TIME_WAIT there.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", first.port))
            holder.listen(1)
            assert block.endpoints(Address("127.0.0.1", 8080), engines={"text": 0}).gateway_grpc != first
        with pytest.raises(LocalError, match="too few free ports"):
            block.endpoints(Address("127.0.0.1", 8080), engines={"text": 60})
    finally:
        block.close()
