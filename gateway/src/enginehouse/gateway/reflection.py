"""Reflection and health of the whole mesh: the services that clients may call now, from the installed contracts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from enginehouse.gateway.translate.contracts import EdgeContracts
from enginehouse.gateway.translate.names import HEALTH_SERVICE
from enginehouse.kit.server.reflection import Reflection, SymbolIndex


def mesh_reflection(contracts: EdgeContracts, *, services: Callable[[], Iterable[str]]) -> Reflection:
    """Return the reflection of every service that engines registered.

    Args:
        contracts: the source of descriptors; a service that is not in them is listed without one.
        services: returns the full names of the services known now.
    """
    health = descriptor_pb2.FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(health)
    files = descriptor_pb2.FileDescriptorSet.FromString(contracts.descriptor_set).file
    return Reflection(index=SymbolIndex((*files, health)), services=lambda: (*services(), HEALTH_SERVICE))


class MeshHealth:
    """grpc.health.v1 for the mesh: a service is SERVING while a live engine takes its calls; "" while the gateway runs.

    It tells what the registry knows, not whether Envoy or the router work: `/healthz` at the public listener does.
    """

    def __init__(self) -> None:
        self._servicer = HealthServicer()
        self._known: dict[str, bool] = {}

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register it."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def update(self, serving: Iterable[str]) -> None:
        """Set the services that have live engines."""
        now = dict.fromkeys(self._known, False) | dict.fromkeys(serving, True)
        for service, alive in now.items():
            if self._known.get(service) != alive:
                status = health_pb2.HealthCheckResponse
                await self._servicer.set(service, status.SERVING if alive else status.NOT_SERVING)
        self._known = now
